"""HEAD: a copy of the pointer next to the versions, read only if Redis has no pointer. Torch-free.

This module also marks the versions that were ever live. A version is marked before HEAD names it.
"""

from __future__ import annotations

import json
from contextlib import suppress

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from editing_core.durable import locked, sync, write_durably
from editing_core.errors import StoreDamaged
from editing_core.versions.layout import StoreLayout, is_version_name


class Head(BaseModel):
    """A revision of the pointer and the version that it names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    revision: int = Field(ge=0)
    version: str

    @field_validator("version")
    @classmethod
    def _is_version(cls, value: str) -> str:
        if not is_version_name(value):
            raise ValueError(f"{value!r} is not the name of a version")
        return value


def write_head(layout: StoreLayout, revision: int, version: str) -> bool:
    """Copy the pointer to disk. Returns False and writes nothing if HEAD already holds a later revision."""
    head = Head(revision=revision, version=version)
    layout.root.mkdir(parents=True, exist_ok=True)
    lock = layout.root / ".HEAD.lock"
    lock.touch()
    with locked(lock):
        held = read_head(layout)
        if held is not None and held.revision > revision:
            return False
        content = json.dumps(head.model_dump()) + "\n"
        write_durably(layout.head, lambda path: path.write_text(content))
        return True


def read_head(layout: StoreLayout) -> Head | None:
    """The copy of the pointer; None if none was ever written. Raises StoreDamaged if it cannot be read."""
    try:
        return Head.model_validate_json(layout.head.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise StoreDamaged(f"{layout.head} cannot be read: remove it if Redis holds the pointer") from None


def mark_published(layout: StoreLayout, version: str) -> None:
    """Mark the version as published, in its folder. Does nothing if the folder is gone."""
    mark = layout.published_file(version)
    with suppress(FileNotFoundError):
        if not mark.exists():
            mark.touch()
            sync(mark.parent)


def was_published(layout: StoreLayout, version: str) -> bool:
    """Whether the version is marked as published. A version without the mark may have been live too."""
    return layout.published_file(version).exists()
