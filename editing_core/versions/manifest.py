"""What a version is: its manifest. Torch-free, so that the ledger can be rebuilt from the store by any process.

The manifest names the whole live set with its provenance and the batches it came in, so the store alone tells which
edits are in force, who asked for them, and in which order they were accepted.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from editing_core.edits import AcceptedEdit, EditSet
from editing_core.errors import StoreDamaged
from editing_core.guards import AcceptedGuard
from editing_core.versions.layout import is_version_name

FORMAT = 1

EMPTY_TENSOR_FILE = b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "
"""The tensor file of v0, which has no edited matrix: a safetensors file without tensors."""
EMPTY_DIGEST = "sha256:" + hashlib.sha256(EMPTY_TENSOR_FILE).hexdigest()


class TensorEntry(BaseModel):
    """Type and shape of one edited matrix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: str
    """As torch writes it, without ``torch.``."""
    shape: tuple[int, ...]


class Manifest(BaseModel):
    """All that is known of a version besides its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    version: str
    parent: str | None
    """None for v0 only."""
    created: str
    """ISO 8601 with Z."""
    store: str
    """The id of the store that it belongs to."""
    model_fingerprint: str | None
    """None only for v0 of a store that is not bound to a model yet."""
    settings: dict[str, JsonValue]
    """All settings that the weights depend on."""
    edits: tuple[dict[str, JsonValue], ...]
    """The live set in canonical order, each as ``AcceptedEdit.to_json``."""
    superseded: tuple[dict[str, JsonValue], ...] = ()
    """Edits that a live one about the same thing supersedes or repeats: what comes back when that is taken out."""
    guards: tuple[dict[str, JsonValue], ...] = ()
    """The guards that the version was solved and tested with, by id, each as ``AcceptedGuard.to_json``."""
    dropped: tuple[dict[str, JsonValue], ...] = ()
    """Edits that one of ``batches`` went in without, each as ``AcceptedEdit.to_json`` with its ``culprit``."""
    batches: dict[str, dict[str, JsonValue]]
    """By batch id: acceptance number, author, created, options, and what it took out."""
    delta_norms: dict[str, float]
    """By tensor name: ‖Δ‖/‖W‖."""
    checks: dict[str, JsonValue]
    """What the checks measured."""
    tensors: dict[str, TensorEntry]
    purged: dict[str, str] = Field(default_factory=dict)
    """Edits whose text was erased from here, with the hash of their content."""
    made_with: dict[str, JsonValue] = Field(default_factory=dict)
    """What decides the last bits beside all this: libraries, threads, processor (``editing_core.models.machine``)."""
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

    @property
    def edit_set(self) -> EditSet:
        """The live set, and what lies beneath it."""
        beneath = tuple(AcceptedEdit.from_json(record) for record in self.superseded)
        return EditSet(live=self.live, superseded=beneath)

    @property
    def accepted_guards(self) -> tuple[AcceptedGuard, ...]:
        """The guards, by id."""
        return tuple(AcceptedGuard.from_json(record) for record in self.guards)

    @property
    def dropped_edits(self) -> tuple[AcceptedEdit, ...]:
        """Those of ``dropped``."""
        rows = ({name: value for name, value in row.items() if name != "culprit"} for row in self.dropped)
        return tuple(AcceptedEdit.from_json(row) for row in rows)

    @property
    def live(self) -> tuple[AcceptedEdit, ...]:
        """The live set, in canonical order."""
        return tuple(AcceptedEdit.from_json(record) for record in self.edits)


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest's file: its fields and, as ``seal``, the digest over them.

    Raises ValueError for a number that JSON does not know (NaN, infinity).
    """
    record = manifest.model_dump(mode="json")
    record["seal"] = _seal(record)
    return (json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def decode_manifest(content: bytes, path: Path) -> Manifest:
    """Read what ``encode_manifest`` wrote; raises StoreDamaged, naming the file, for anything else."""
    try:
        record = json.loads(content)
        found_format = record.get("format")
        expected = record.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise StoreDamaged(f"{path} is not a complete manifest: {_WAY_OUT}") from None
    if found_format != FORMAT:  # first: another format may be sealed otherwise
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
