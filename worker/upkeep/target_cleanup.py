"""Removes z files that are no longer needed.

A file is needed if one of its edits is in the manifest of a kept version, live or not, or in an open batch. A file
names its edits (``editing_core.versions.target_files``); files without names are kept. Torch-free.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from editing_core.edits import Edit
from editing_core.versions.store import VersionStore
from editing_core.versions.tensor_header import read_header
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.upkeep.manifests import read, rows_of

LOGGER = logging.getLogger(__name__)
LEAST_AGE_SECONDS = 3600.0
"""Younger files are kept: their z may be computed already while their batch is not ready yet."""
LARGEST_HEADER_BYTES = 1 << 20
GUARD_EVERY = 100


def collect_targets(
    ledger: Ledger, store: VersionStore, *, guard: Callable[[], None], least_age_seconds: float = LEAST_AGE_SECONDS
) -> int:
    """Remove the z files that are no longer needed, and return their number.

    Requires the commit lease, which ``guard`` checks. Otherwise a commit could look for a file while it is removed.
    """
    needed = needed_contents(ledger, store)
    newest = time.time() - least_age_seconds
    removed = num_bytes = 0
    for index, path in enumerate(target_files(store)):
        if index % GUARD_EVERY == 0:
            guard()
        contents = contents_of(path)
        found = path.stat()
        if contents is None or contents <= needed or found.st_mtime > newest:
            continue
        path.unlink()
        removed, num_bytes = removed + 1, num_bytes + found.st_size
    if removed:
        log_event(LOGGER, "targets.removed", num_files=removed, num_bytes=num_bytes)
        ledger.audit.note("targets.removed", who="worker", num_files=removed, num_bytes=num_bytes)
    return removed


def needed_contents(ledger: Ledger, store: VersionStore) -> frozenset[str]:
    """Return the content keys of all edits in the manifests of kept versions and in open batches.

    Raises StoreDamaged if a manifest cannot be read, because its edits are then unknown.
    """
    open_batches = [record.spec.id for record in ledger.batches.open()]
    needed = {accepted.edit.content_key() for batch in open_batches for accepted in ledger.batches.edits(batch)}
    for version in store.folders():
        needed |= {Edit.from_json(row["edit"]).content_key() for row in rows_of(read(store, version).model_dump())}
    return frozenset(needed)


def target_files(store: VersionStore) -> Iterator[Path]:
    """Return all z files."""
    return iter(sorted(store.layout.targets_dir.glob("*/*.safetensors")))


def contents_of(path: Path) -> frozenset[str] | None:
    """Return the content keys of the edits in a z file; None if the file does not name them."""
    try:
        with path.open("rb") as file:
            header = read_header(file.read, max_bytes=LARGEST_HEADER_BYTES)
        named = frozenset(json.loads(header["__metadata__"]["errata"])["edits"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return named or None
