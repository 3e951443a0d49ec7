"""Taking an erased edit out of the manifests of versions that do not hold it in force.

A manifest is sealed: it is read whole, changed, sealed again and replaced by one rename.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from editing_core.durable import write_durably
from editing_core.errors import StoreError
from editing_core.versions.manifest import Manifest, decode_manifest, encode_manifest
from editing_core.versions.store import VersionStore
from worker.protocol.audit.redaction import Needles


def read(store: VersionStore, version: str) -> Manifest:
    """The manifest alone, whatever its tensors are like. Raises StoreDamaged, FileNotFoundError."""
    path = store.layout.manifest_file(version)
    return decode_manifest(path.read_bytes(), path)


def rows_of(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All edits that a manifest tells of, in force or not: the rows of its lists of accepted edits."""
    for value in manifest.values():
        if isinstance(value, list | tuple):
            yield from (row for row in value if isinstance(row, dict) and isinstance(row.get("edit"), dict))


def holds(manifest: Manifest, edit: str) -> bool:
    """Whether the edit is in the version's set: then its weights are the fact."""
    return any(row.get("id") == edit for row in manifest.edits)


def versions_with(store: VersionStore, edit: str) -> list[str]:
    """Versions on disk whose set holds the edit, and damaged ones that name it."""
    found = []
    for version in store.folders():
        try:
            holding = holds(read(store, version), edit)
        except StoreError:
            holding = edit.encode() in store.layout.manifest_file(version).read_bytes()
        if holding:
            found.append(version)
    return found


def redact_manifest(store: VersionStore, version: str, needles: Needles, *, content: str) -> bool:
    """Take the edit and what quotes it out of a version's manifest; whether anything had to go.

    ``content``: the hash that stays in its place. Raises StoreError for a manifest that cannot be read.
    """
    manifest = read(store, version)
    record = manifest.model_dump(mode="json")
    was_in = any(row.get("id") == needles.edit for row in rows_of(record))
    fresh = {name: _without(value, needles.edit) for name, value in record.items()}
    fresh["checks"] = needles.redact(record["checks"])
    if was_in:
        fresh["purged"] = {**record["purged"], needles.edit: content}
    if fresh == record:
        return False
    encoded = encode_manifest(Manifest.model_validate(fresh))
    write_durably(store.layout.manifest_file(version), lambda path: path.write_bytes(encoded))
    return True


def _without(value: object, edit: str) -> object:
    if isinstance(value, list):
        return [row for row in value if not (isinstance(row, dict) and row.get("id") == edit and "edit" in row)]
    return value
