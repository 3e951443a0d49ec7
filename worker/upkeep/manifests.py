"""Removes an erased edit from the manifests of versions in which it is not live.

A manifest is sealed, so it is read as a whole, changed, sealed again and replaced by one rename.
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
    """Read the manifest without checking the tensors. Raises StoreDamaged, FileNotFoundError."""
    path = store.layout.manifest_file(version)
    return decode_manifest(path.read_bytes(), path)


def rows_of(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all edits in a manifest, whether they are live or not."""
    for value in manifest.values():
        if isinstance(value, list | tuple):
            yield from (row for row in value if isinstance(row, dict) and isinstance(row.get("edit"), dict))


def holds(manifest: Manifest, edit: str) -> bool:
    """Whether the edit is live in the version, so its weights contain the edit."""
    return any(row.get("id") == edit for row in manifest.edits)


def versions_with(store: VersionStore, edit: str) -> list[str]:
    """Return the versions on disk in which the edit is live, and damaged versions whose manifest names it."""
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
    """Remove the edit and all quotes of it from a version's manifest. Return whether the manifest changed.

    ``content``: the hash that replaces the edit. Raises StoreError for an unreadable manifest.
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
