"""Removing z files that nothing needs: no kept version's set, nothing that could come back into it, no open batch.

A file names its edits (``editing_core.versions.target_files``); a file without names stays. Torch-free.
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
"""A younger file may be of a group that is on its way: its search has been made, and its batch is not ready yet."""
LARGEST_HEADER_BYTES = 1 << 20
GUARD_EVERY = 100


def collect_targets(
    ledger: Ledger, store: VersionStore, *, guard: Callable[[], None], least_age_seconds: float = LEAST_AGE_SECONDS
) -> int:
    """Remove the z files that nothing needs; how many. Only for the holder of the commit's lease (``guard`` tests it).

    Without it a commit could look for a file that goes at that moment.
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
    """Content keys of all edits in the manifests of kept versions, and of all open batches.

    Raises StoreDamaged where a manifest cannot be read: what it needs is not known then.
    """
    open_batches = [record.spec.id for record in ledger.batches.open()]
    needed = {accepted.edit.content_key() for batch in open_batches for accepted in ledger.batches.edits(batch)}
    for version in store.folders():
        needed |= {Edit.from_json(row["edit"]).content_key() for row in rows_of(read(store, version).model_dump())}
    return frozenset(needed)


def target_files(store: VersionStore) -> Iterator[Path]:
    """All z files."""
    return iter(sorted(store.layout.targets_dir.glob("*/*.safetensors")))


def contents_of(path: Path) -> frozenset[str] | None:
    """Content keys of the edits that a z file is of; None when it does not say."""
    try:
        with path.open("rb") as file:
            header = read_header(file.read, max_bytes=LARGEST_HEADER_BYTES)
        named = frozenset(json.loads(header["__metadata__"]["errata"])["edits"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return named or None
