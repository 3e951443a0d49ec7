"""Reconciles ledger and store after one of them lost data or a process died between two writes.

Run as a program (``python -m worker.recovery``), it sets the pointer to HEAD on disk, whatever Redis holds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence

from editing_core.clock import timestamp, utc_now
from editing_core.durable import locked
from editing_core.errors import ErrataError, StoreDamaged
from editing_core.guards import AcceptedGuard
from editing_core.versions.head import mark_published, was_published
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout, version_number
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from worker.manifest_records import newest_guards, parents_of, restored_batches, restored_versions
from worker.protocol.connections import connect
from worker.protocol.entities import ORIGINAL, Pointer
from worker.protocol.errors import LedgerBehind, LostRace
from worker.protocol.head_state import HeadState, compare_head, describe_older_redis
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event, start_logging
from worker.protocol.redis_address import redis_address
from worker.protocol.settings import read_settings
from worker.upkeep.audit_file import read_copy, rejoined
from worker.upkeep.guard_file import read_guards
from worker.upkeep.retention import remove_versions

LOGGER = logging.getLogger(__name__)


def reconcile_pointer(ledger: Ledger, store: VersionStore) -> Pointer:
    """Make HEAD and the pointer of the ledger agree, and return the pointer.

    * Redis has no pointer: the ledger is restored from the manifests, up to HEAD.
    * Redis is ahead of HEAD, because a worker died or the API promoted a version: HEAD is written.
    * HEAD is ahead of Redis: raises LedgerBehind.
    """
    head = store.read_head()  # read before the pointer: HEAD could otherwise belong to a later publication
    pointer = ledger.versions.known_pointer()
    if pointer is None:
        try:
            return restore_from_store(ledger, store, expected=None)
        except LostRace as error:  # another process has just done it
            log_event(LOGGER, "recovery.again", reason=error.detail)
            return reconcile_pointer(ledger, store)
    state = compare_head(head, pointer)
    if state == HeadState.HEAD_BEHIND:
        copy_to_head(ledger, store, pointer)
    if state == HeadState.HEAD_AHEAD:
        assert head is not None
        raise LedgerBehind(describe_older_redis(head, pointer))
    return pointer


def copy_to_head(ledger: Ledger, store: VersionStore, pointer: Pointer) -> None:
    """Record the published versions on disk: first their marks, then HEAD."""
    for version in ledger.versions.published(and_candidates=False).intersection(store.folders()):
        mark_published(store.layout, version)
    store.write_head(pointer.revision, pointer.version)


def restore_from_store(ledger: Ledger, store: VersionStore, *, expected: Pointer | None) -> Pointer:
    """Restore the ledger from the manifests of published versions, with the pointer of HEAD.

    If the ledger has lost its data, the guards come from their copy on disk, or else from the newest version. Published
    versions are those with a mark, and the version of HEAD with its ancestors. Other folders may come from
    a commit that died before it published, so their batches do not count as applied. Raises StoreDamaged, LostRace.
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
    batches = restored_batches(manifests)
    ledger.restoring.restore(
        pointer,
        versions=restored_versions(manifests, batches),
        batches=batches,
        parents=parents_of(manifests),
        guards=_kept_guards(store, manifests) if expected is None else (),
        expected=expected,
        chain=_chain_after(store, pointer, anything=bool(versions)),
        pinned=[version for version in versions if store.layout.pinned_file(version).exists()],
    )
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


def _kept_guards(store: VersionStore, manifests: Sequence[Manifest]) -> tuple[AcceptedGuard, ...]:
    copied = read_guards(store.layout)
    return newest_guards(manifests) if copied is None else copied


def _chain_after(
    store: VersionStore, pointer: Pointer, *, anything: bool
) -> Callable[[Sequence[str]], Sequence[str]] | None:
    """Return how the audit chain continues; None for a new store."""
    copy = read_copy(store.layout)
    if not copy and not anything:
        return None
    at = timestamp(utc_now())
    return lambda present: rejoined(copy, present, at=at, version=pointer.version, revision=pointer.revision)


def sweep_unpublished(ledger: Ledger, store: VersionStore) -> None:
    """Remove the remains of commits that died: incomplete folders, and versions that were never published.

    Damaged versions are kept, because their state is unknown. Versions that are being read are removed the next time.
    Requires the commit lease, so no other process writes versions.
    """
    swept = store.sweep_partial()
    published = ledger.versions.published()
    for version in {*store.list()} - {ORIGINAL} - published:
        if was_published(store.layout, version):
            continue
        with locked(store.layout.version_dir(version), wait=False) as is_free:
            if is_free:
                store.remove(version)
                swept.append(version)
    if swept:
        log_event(LOGGER, "store.swept", removed=swept)


def retain_versions(ledger: Ledger, store: VersionStore, *, keep: int) -> None:
    """Remove all versions except those that ``Versions.retention`` keeps. Requires the commit lease."""
    remove_versions(ledger, store, ledger.versions.retention(keep=keep, among=store.list()))


def highest_on_disk(store: VersionStore) -> int:
    """Return the highest version number among the folders, including damaged versions."""
    return max(version_number(version) for version in (ORIGINAL, *store.folders()))


def _published_on_disk(store: VersionStore, live: str) -> list[str]:
    versions = [version for version in store.list() if version != ORIGINAL]
    published = {version for version in versions if was_published(store.layout, version)}
    ancestor: str | None = live
    while ancestor in versions:
        published.add(ancestor)
        ancestor = store.read_manifest(ancestor).parent
    return [version for version in versions if version in published]


def main() -> int:
    """Set the pointer to HEAD, and restore the ledger from the files."""
    try:
        settings = read_settings()
        start_logging(settings.log_level, form=settings.log_format)
        store = VersionStore(StoreLayout(settings.data))
        ledger = Ledger(connect(redis_address(settings)), Keys(open_identity(settings.data).id))
        restore_from_store(ledger, store, expected=ledger.versions.known_pointer())
    except ErrataError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
