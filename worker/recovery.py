"""Ledger and store brought together again, after one of them lost its memory or a process died between the two.

Run as a program (``python -m worker.recovery``) it makes HEAD on disk the pointer again, whatever Redis says.
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
from worker.protocol.connections import connect, required_url
from worker.protocol.entities import ORIGINAL, Pointer
from worker.protocol.errors import LedgerBehind, LostRace
from worker.protocol.head_state import HeadState, compare_head, describe_older_redis
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event, start_logging
from worker.protocol.settings import read_settings
from worker.upkeep.audit_file import read_copy, rejoined
from worker.upkeep.guard_file import read_guards
from worker.upkeep.retention import remove_versions

LOGGER = logging.getLogger(__name__)


def reconcile_pointer(ledger: Ledger, store: VersionStore) -> Pointer:
    """Bring HEAD and the ledger's pointer together, and return the pointer.

    * Redis knows no pointer: the ledger is written anew from the manifests, up to HEAD.
    * Redis is ahead of HEAD: HEAD is written (its writer died first, or the API promoted).
    * HEAD is ahead of Redis: raises LedgerBehind.
    """
    head = store.read_head()  # before the pointer: read after it, it might tell of a later publication
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
    """Tell the files what is published: the versions' marks first, then HEAD."""
    for version in ledger.versions.published(and_candidates=False).intersection(store.folders()):
        mark_published(store.layout, version)
    store.write_head(pointer.revision, pointer.version)


def restore_from_store(ledger: Ledger, store: VersionStore, *, expected: Pointer | None) -> Pointer:
    """Write the ledger anew from the manifests of published versions; the pointer is HEAD's.

    The guards are those of their copy, or of the newest version where there is none, unless the ledger has not lost its
    memory: no rollback touches them.
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
    """How the audit chain goes on; None for a store of which nothing is known yet."""
    copy = read_copy(store.layout)
    if not copy and not anything:
        return None
    at = timestamp(utc_now())
    return lambda present: rejoined(copy, present, at=at, version=pointer.version, revision=pointer.revision)


def sweep_unpublished(ledger: Ledger, store: VersionStore) -> None:
    """Remove what commits that died have left: half-written folders, and versions that were never published.

    Damaged versions stay: their content is no longer known; one that is being read goes the next time. Only for
    the holder of the commit's lease: no other process writes versions then.
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
    """Remove all versions but those that ``worker.protocol.ledger.versions`` keeps.

    Only for the holder of the commit's lease.
    """
    remove_versions(ledger, store, ledger.versions.retention(keep=keep, among=store.list()))


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


def main() -> int:
    """Make HEAD the pointer again, and tell the ledger all that the files tell."""
    try:
        settings = read_settings()
        start_logging(settings.log_level, form=settings.log_format)
        store = VersionStore(StoreLayout(settings.data))
        ledger = Ledger(connect(required_url(settings.redis_url)), Keys(open_identity(settings.data).id))
        restore_from_store(ledger, store, expected=ledger.versions.known_pointer())
    except ErrataError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
