"""The settings in force, each with where it comes from; secrets are hidden. Reads no environment by itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

_PASSWORD = re.compile(r"(?<=://)([^/@\s]*:)?[^/@\s]+(?=@)")
HIDDEN = "********"


class Source(StrEnum):
    """Where a setting comes from; a later one wins over an earlier one."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    OPTION = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """One setting as it is in force."""

    name: str
    variable: str
    value: str | None
    """As it would be written in the environment, with secrets hidden; None: not given."""
    source: Source


def effective(
    values: Mapping[str, object], variables: Mapping[str, str], *, by: Mapping[Source, Collection[str]]
) -> list[Effective]:
    """Return every setting in the order of ``variables``.

    ``values`` and ``variables`` (environment variables) are by name; ``by``: the names that each source gives.
    """
    order = (Source.OPTION, Source.ENVIRONMENT, Source.FILE)
    return [
        Effective(
            name=name,
            variable=variable,
            value=as_text(values[name]),
            source=next((source for source in order if name in by.get(source, ())), Source.DEFAULT),
        )
        for name, variable in variables.items()
    ]


def as_text(value: object) -> str | None:
    """A setting as the environment would give it; None for one that is not given."""
    match value:
        case None | ():
            return None
        case bool():
            return str(value).lower()
        case tuple():
            return ":".join(map(str, value))
        case SecretStr():
            return HIDDEN
    return hide_password(str(value))


def hide_password(text: str) -> str:
    """An address without the user and password that it may hold."""
    return _PASSWORD.sub(lambda found: f"{found[1] or ''}{HIDDEN}", text)
