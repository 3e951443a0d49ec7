"""HEAD: the copy of the pointer that lies beside the versions, read only when Redis knows no pointer. Torch-free.

Here too: the marks of the versions that were ever live, written before HEAD tells of them.
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
    """Copy the pointer to disk; returns False, and writes nothing, when a later revision is there already."""
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
    """The copy of the pointer, None when there never was one. Raises StoreDamaged when it cannot be read."""
    try:
        return Head.model_validate_json(layout.head.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise StoreDamaged(f"{layout.head} cannot be read: remove it if Redis holds the pointer") from None


def mark_published(layout: StoreLayout, version: str) -> None:
    """Note beside the version's files that it was published; nothing, when they are gone."""
    mark = layout.published_file(version)
    with suppress(FileNotFoundError):
        if not mark.exists():
            mark.touch()
            sync(mark.parent)


def was_published(layout: StoreLayout, version: str) -> bool:
    """Whether the version's files bear the mark. Without it, it may have been live all the same."""
    return layout.published_file(version).exists()
