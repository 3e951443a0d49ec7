"""Ledger and store brought together again, after one of them lost its memory or a process died between the two.

Run as a program (``python -m worker.recovery``) it makes HEAD on disk the pointer again, whatever Redis says.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from editing_core.edit_sets import EditSet
from editing_core.edits import AcceptedEdit
from editing_core.errors import ErrataError, StoreDamaged
from editing_core.versions.head import mark_published, was_published
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout, version_number
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from worker.protocol.connections import connect, required_url
from worker.protocol.errors import LedgerBehind, LostRace
from worker.protocol.jobs import ORIGINAL, BatchRecord, BatchSpec, Pointer, VersionRecord
from worker.protocol.keys import Keys
from worker.protocol.ledger import Ledger
from worker.protocol.logs import log_event, start_logging
from worker.protocol.moves.restoring import RestoredBatch, RestoredVersion
from worker.protocol.settings import read_settings

LOGGER = logging.getLogger(__name__)


def reconcile_pointer(ledger: Ledger, store: VersionStore) -> Pointer:
    """Bring HEAD and the ledger's pointer together, and return the pointer.

    * Redis knows no pointer: the ledger is written anew from the manifests, up to HEAD.
    * Redis is ahead of HEAD: HEAD is written (its writer died first, or the API promoted).
    * HEAD is ahead of Redis: raises LedgerBehind.
    """
    head = store.read_head()  # before the pointer: read after it, it might tell of a later publication
    pointer = ledger.known_pointer()
    if pointer is None:
        try:
            return restore_from_store(ledger, store, expected=None)
        except LostRace as error:  # another process has just done it
            log_event(LOGGER, "recovery.again", reason=error.detail)
            return reconcile_pointer(ledger, store)
    if head is None or head.revision < pointer.revision:
        copy_to_head(ledger, store, pointer)
        return pointer
    if (head.revision, head.version) != (pointer.revision, pointer.version):
        raise LedgerBehind(
            f"{store.layout.head} says {head.version} (revision {head.revision}), Redis says {pointer.version} "
            f"(revision {pointer.revision}): an older Redis was restored, or another one is used. Connect the right "
            "one, or run `errata recover` to go on from the files"
        )
    return pointer


def copy_to_head(ledger: Ledger, store: VersionStore, pointer: Pointer) -> None:
    """Tell the files what is published: the versions' marks first, then HEAD."""
    for version in (ledger.published() - set(ledger.candidates())).intersection(store.folders()):
        mark_published(store.layout, version)
    store.write_head(pointer.revision, pointer.version)


def restore_from_store(ledger: Ledger, store: VersionStore, *, expected: Pointer | None) -> Pointer:
    """Write the ledger anew from the manifests of published versions; the pointer is HEAD's.

    Published are those that bear the mark, and HEAD's version with its ancestors. Any other folder may be what a commit
    left behind that died before it published: its batches are not taken as applied. Raises StoreDamaged, LostRace.
    """
    head = store.read_head()
    versions = _published_on_disk(store, head.version if head else ORIGINAL)
    if head is None and (versions := [version for version in store.list() if version != ORIGINAL]):
        raise StoreDamaged(
            f"{store.layout.head} is missing beside {len(versions)} versions: write "
            f'{{"revision": 1, "version": "{versions[-1]}"}} into it, or the version that was live'
        )
    pointer = Pointer(revision=head.revision, version=head.version) if head else Pointer(revision=0, version=ORIGINAL)
    if pointer.version not in {*versions, ORIGINAL}:
        raise StoreDamaged(f"{store.layout.head} names {pointer.version}, whose files are damaged or gone")
    manifests = [store.read_manifest(version) for version in versions]
    batches = _batches(manifests)
    restored = [
        RestoredVersion(
            record=version_record(manifest, [batch.spec.id for batch in batches if batch.version == manifest.version]),
            edit_ids=tuple(edit.id for edit in manifest.live),
            superseded_ids=tuple(edit.id for edit in manifest.edit_set.superseded),
        )
        for manifest in manifests
    ]
    ledger.restore(pointer, versions=restored, batches=batches, parents=_parents(manifests), expected=expected)
    copy_to_head(ledger, store, pointer)
    if versions:
        log_event(
            LOGGER,
            "ledger.rebuilt",
            level=logging.WARNING,
            version=pointer.version,
            revision=pointer.revision,
            num_versions=len(versions),
            num_batches=len(batches),
        )
    return pointer


def version_record(manifest: Manifest, batches: Sequence[str]) -> VersionRecord:
    """What the ledger keeps of a version that took in these batches."""
    assert manifest.digest is not None
    return VersionRecord(
        id=manifest.version,
        parent=manifest.parent,
        created=manifest.created,
        num_edits=len(manifest.edits),
        digest=manifest.digest,
        checks=manifest.checks,
        delta_norms=manifest.delta_norms,
        model={"fingerprint": manifest.model_fingerprint},
        batches=tuple(batches),
    )


def sweep_unpublished(ledger: Ledger, store: VersionStore) -> None:
    """Remove what commits that died have left: half-written folders, and versions that were never published.

    Damaged versions stay: what they are can no longer be told. Only for the holder of the commit's lease: no other
    process writes versions then.
    """
    swept = store.sweep_partial()
    published = ledger.published()
    for version in {*store.list()} - {ORIGINAL} - published:
        if was_published(store.layout, version):
            continue
        store.remove(version)
        swept.append(version)
    if swept:
        log_event(LOGGER, "store.swept", removed=swept)


def retain_versions(ledger: Ledger, store: VersionStore, pointer: Pointer, *, keep: int) -> None:
    """Remove all but the live version and the last ``keep``; the ledger knows first, so that none goes live meanwhile.

    Only for the holder of the commit's lease.
    """
    folders = [version for version in store.list() if version not in {ORIGINAL, *ledger.candidates()}]
    doomed = [version for version in folders[:-keep] if version != pointer.version]
    marked = ledger.mark_removed(doomed) if doomed else []
    if marked:
        store.retain(pointer.version, set(store.folders()) - set(marked), keep=keep)
        log_event(LOGGER, "versions.removed", versions=marked)


def highest_on_disk(store: VersionStore) -> int:
    """The highest number of a version that has a folder, damaged ones too; from the names alone."""
    return max(version_number(version) for version in (ORIGINAL, *store.folders()))


def _published_on_disk(store: VersionStore, live: str) -> list[str]:
    versions = [version for version in store.list() if version != ORIGINAL]
    published = {version for version in versions if was_published(store.layout, version)}
    ancestor: str | None = live
    while ancestor in versions:
        published.add(ancestor)
        ancestor = store.read_manifest(ancestor).parent
    return [version for version in versions if version in published]


def summaries(
    parent: Manifest, edits: EditSet, *, version: str, records: Sequence[BatchRecord]
) -> dict[str, dict[str, Any]]:
    """What a manifest tells of every batch that its set comes from: enough to write the ledger anew."""
    needed = {accepted.batch for accepted in edits.everything}
    earlier = {batch: dict(told) for batch, told in parent.batches.items() if batch in needed or told.get("remove")}
    return earlier | {record.spec.id: {**record.spec.summary(), "version": version} for record in records}


def _batches(manifests: list[Manifest]) -> list[RestoredBatch]:
    edits: defaultdict[str, dict[str, AcceptedEdit]] = defaultdict(dict)
    told: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        told |= manifest.batches
        for accepted in manifest.edit_set.everything:
            edits[accepted.batch][accepted.id] = accepted
    return [
        RestoredBatch(
            spec=BatchSpec.from_summary(batch, summary),
            version=str(summary["version"]),
            edits=tuple(edits[batch].values()),
        )
        for batch, summary in told.items()
    ]


def _parents(manifests: list[Manifest]) -> dict[str, str]:
    """Which descends from which, also of versions whose files are gone: a set's edits entered it in its ancestors."""
    parents: dict[str, str] = {}
    for manifest in manifests:
        assert manifest.parent is not None
        entered = {str(summary["version"]) for summary in manifest.batches.values()} - {manifest.version}
        line = sorted({manifest.parent, ORIGINAL, *entered}, key=version_number, reverse=True)
        for version, ancestor in pairwise((manifest.version, *line)):
            parents[version] = max(parents.get(version, ORIGINAL), ancestor, key=version_number)
    return parents


def main() -> int:
    """Make HEAD the pointer again, and tell the ledger all that the files tell."""
    try:
        settings = read_settings()
        start_logging(settings.log_level, form=settings.log_format)
        store = VersionStore(StoreLayout(settings.data))
        ledger = Ledger(connect(required_url(settings.redis_url)), Keys(open_identity(settings.data).id))
        restore_from_store(ledger, store, expected=ledger.known_pointer())
    except ErrataError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
