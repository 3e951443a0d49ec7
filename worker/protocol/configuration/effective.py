"""The settings in force with their sources. Secrets are hidden. Does not read the environment."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

_PASSWORD = re.compile(r"(?<=://)([^/@\s]*:)?[^/@\s]+(?=@)")
HIDDEN = "********"


class Source(StrEnum):
    """The source of a setting. Later sources override earlier ones."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    OPTION = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """One setting in force."""

    name: str
    variable: str
    value: str | None
    """The value in the form of an environment variable, with secrets hidden; None if not set."""
    source: Source


def effective(
    values: Mapping[str, object], variables: Mapping[str, str], *, by: Mapping[Source, Collection[str]]
) -> list[Effective]:
    """Return every setting in the order of ``variables``.

    ``values`` and ``variables`` (environment variables) are by name. ``by``: the names that each source sets.
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
    """Return a setting in the form of an environment variable; None if not set."""
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
    """Return an address without user and password."""
    return _PASSWORD.sub(lambda found: f"{found[1] or ''}{HIDDEN}", text)
