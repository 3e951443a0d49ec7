"""The manifest, which describes a version. Torch-free: any process can rebuild the ledger from the store.

The manifest names the whole live set with its provenance and its batches. The store alone therefore shows which edits
are in force, who asked for them, and in which order they were accepted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator
from pydantic_core import to_json

from editing_core.edits import AcceptedEdit, EditSet
from editing_core.errors import StoreDamaged
from editing_core.guards import AcceptedGuard
from editing_core.versions.layout import is_version_name

FORMAT = 1

EMPTY_TENSOR_FILE = b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "
"""The tensor file of v0: a safetensors file without tensors, because v0 has no edited matrix."""
EMPTY_DIGEST = "sha256:" + hashlib.sha256(EMPTY_TENSOR_FILE).hexdigest()


class TensorEntry(BaseModel):
    """Type and shape of one edited matrix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: str
    """As torch writes it, without ``torch.``."""
    shape: tuple[int, ...]


class Manifest(BaseModel):
    """Everything about a version except its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    version: str
    parent: str | None
    """None for v0 only."""
    created: str
    """ISO 8601 with Z."""
    store: str
    """The id of the version's store."""
    model_fingerprint: str | None
    """None only for v0 of a store that is not bound to a model yet."""
    settings: dict[str, JsonValue]
    """All settings that the weights depend on."""
    edits: tuple[dict[str, JsonValue], ...]
    """The live set in canonical order, each as ``AcceptedEdit.to_json``."""
    superseded: tuple[dict[str, JsonValue], ...] = ()
    """Edits that a live edit of the same fact supersedes or repeats. They return if the live edit is taken out."""
    guards: tuple[dict[str, JsonValue], ...] = ()
    """The guards that the version was solved and tested with, by id, each as ``AcceptedGuard.to_json``."""
    dropped: tuple[dict[str, JsonValue], ...] = ()
    """Edits that were left out of one of ``batches``, each as ``AcceptedEdit.to_json`` with its ``culprit``."""
    batches: dict[str, dict[str, JsonValue]]
    """By batch id: acceptance number, author, created, options, and the edits that it took out."""
    delta_norms: dict[str, float]
    """By tensor name: ‖Δ‖/‖W‖."""
    checks: dict[str, JsonValue]
    """The measurements of the checks."""
    tensors: dict[str, TensorEntry]
    purged: dict[str, str] = Field(default_factory=dict)
    """Edits whose text was erased from this manifest, each with the hash of its content."""
    made_with: dict[str, JsonValue] = Field(default_factory=dict)
    """Libraries, threads and processor, which also decide the last bits (``editing_core.models.machine``)."""
    digest: str | None = None
    """``sha256:…`` of the tensor file; None before it is written."""
    size_bytes: int | None = Field(default=None, ge=0)
    """Size of the tensor file; None before it is written."""

    @field_validator("version", "parent")
    @classmethod
    def _is_version(cls, value: str | None) -> str | None:
        if value is not None and not is_version_name(value):
            raise ValueError(f"{value!r} is not the name of a version")
        return value

    @model_validator(mode="after")
    def _edits_are_readable(self) -> Self:
        try:
            ids = [accepted.id for accepted in self.edit_set.everything] + [held.id for held in self.accepted_guards]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"an edit of the live set, or a guard, cannot be read: {error}") from None
        if len(set(ids)) != len(ids):
            raise ValueError("the set holds an edit twice")
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with ``update`` applied (not validated), without cached values of the changed fields."""
        copied = super().model_copy(update=update, deep=deep)
        for name, fields in _COMPUTED_FROM.items():
            if fields & (update or {}).keys():
                copied.__dict__.pop(name, None)
        return copied

    @cached_property
    def edit_set(self) -> EditSet:
        """The live set and the edits that it supersedes."""
        superseded = tuple(AcceptedEdit.from_json(record) for record in self.superseded)
        return EditSet(live=self.live, superseded=superseded)

    @cached_property
    def accepted_guards(self) -> tuple[AcceptedGuard, ...]:
        """The guards, by id."""
        return tuple(AcceptedGuard.from_json(record) for record in self.guards)

    @cached_property
    def dropped_edits(self) -> tuple[AcceptedEdit, ...]:
        """The edits of ``dropped``."""
        rows = ({name: value for name, value in row.items() if name != "culprit"} for row in self.dropped)
        return tuple(AcceptedEdit.from_json(row) for row in rows)

    @cached_property
    def live(self) -> tuple[AcceptedEdit, ...]:
        """The live set, in canonical order."""
        return tuple(AcceptedEdit.from_json(record) for record in self.edits)


_COMPUTED_FROM: dict[str, frozenset[str]] = {
    "live": frozenset({"edits"}),
    "edit_set": frozenset({"edits", "superseded"}),
    "accepted_guards": frozenset({"guards"}),
    "dropped_edits": frozenset({"dropped"}),
}
"""By name of a cached property: its source fields."""


def encode_manifest(manifest: Manifest) -> bytes:
    """The content of the manifest's file: its fields, and ``seal``, the digest over them.

    Raises ValueError for a number that JSON cannot express (NaN, infinity).
    """
    record: dict[str, Any] = {name: getattr(manifest, name) for name in Manifest.model_fields}
    record["tensors"] = {name: entry.model_dump(mode="json") for name, entry in manifest.tensors.items()}
    record["seal"] = _seal(record)
    rows = (f" {json.dumps(name)}: {_indented(name, value)}" for name, value in record.items())
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode()


def _indented(field: str, value: object) -> str:
    """The value as ``json.dumps(record, ensure_ascii=False, indent=1)`` writes it inside the record.

    Pydantic writes the long lists of edits in a tenth of the time. The two differ only in floats, and these lists hold
    none.
    """
    if field in {"edits", "superseded"} and value:
        text = to_json(value, indent=1).decode()
    else:
        text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    return text.replace("\n", "\n ")  # JSON has no line breaks inside strings


def decode_manifest(content: bytes, path: Path) -> Manifest:
    """Read the output of ``encode_manifest``. Raises StoreDamaged, with the file's path, for anything else."""
    try:
        record = json.loads(content)
        found_format = record.get("format")
        expected = record.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise StoreDamaged(f"{path} is not a complete manifest: {_WAY_OUT}") from None
    if found_format != FORMAT:  # before the seal: another format may compute it differently
        raise StoreDamaged(
            f"{path} has format {found_format!r}, and this Errata reads format {FORMAT}: use the Errata that wrote it, "
            "or promote another version"
        )
    found = _seal(record)
    if found != expected:
        raise StoreDamaged(f"{path} was changed after it was written: seal {expected}, content {found}. {_WAY_OUT}")
    try:
        return Manifest.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoreDamaged(f"{path} is not a manifest: {place} {first['msg']}. {_WAY_OUT}") from None


_WAY_OUT = "Restore the folder from a backup, or promote another version"


def _seal(record: dict[str, Any]) -> str:
    text = json.dumps(record, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
