"""Ledger records from manifests: versions, batches, guards and the ancestry of versions.

Does not access Redis or files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from editing_core.edits import AcceptedEdit, EditSet
from editing_core.guards import AcceptedGuard
from editing_core.versions.layout import version_number
from editing_core.versions.manifest import Manifest
from worker.protocol.entities import ORIGINAL, BatchRecord, BatchSpec, VersionRecord
from worker.protocol.ledger.restoring import RestoredBatch, RestoredVersion


def restored_versions(manifests: Sequence[Manifest], batches: Sequence[RestoredBatch]) -> list[RestoredVersion]:
    """Return the versions, each with the batches it added."""
    return [
        RestoredVersion(
            record=version_record(manifest, [batch.spec.id for batch in batches if batch.version == manifest.version]),
            edit_ids=tuple(edit.id for edit in manifest.live),
            superseded_ids=tuple(edit.id for edit in manifest.edit_set.superseded),
        )
        for manifest in manifests
    ]


def newest_guards(manifests: Sequence[Manifest]) -> tuple[AcceptedGuard, ...]:
    """Return the guards of the newest version."""
    newest = max(manifests, key=lambda manifest: version_number(manifest.version), default=None)
    return newest.accepted_guards if newest is not None else ()


def version_record(manifest: Manifest, batches: Sequence[str]) -> VersionRecord:
    """Return the ledger's record of a version that added these batches."""
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


def summaries(
    parent: Manifest, edits: EditSet, *, version: str, records: Sequence[BatchRecord]
) -> dict[str, dict[str, Any]]:
    """Return the manifest's summary of every batch its set comes from. It suffices to restore the ledger."""
    needed = {accepted.batch for accepted in edits.everything}
    earlier = {
        batch: dict(summary) for batch, summary in parent.batches.items() if batch in needed or summary.get("remove")
    }
    return earlier | {record.spec.id: {**record.spec.summary(), "version": version} for record in records}


def restored_batches(manifests: list[Manifest]) -> list[RestoredBatch]:
    """Return all batches that the versions' sets come from."""
    edits: defaultdict[str, dict[str, AcceptedEdit]] = defaultdict(dict)
    by_batch: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        by_batch |= manifest.batches
        for accepted in (*manifest.edit_set.everything, *manifest.dropped_edits):
            edits[accepted.batch][accepted.id] = accepted
    dropped = {row["id"]: row for manifest in manifests for row in manifest.dropped}
    return [
        RestoredBatch(
            spec=BatchSpec.from_summary(batch, summary),
            version=str(summary["version"]),
            edits=tuple(edits[batch].values()),
            dropped={edit: {"culprit": row["culprit"]} for edit, row in dropped.items() if edit in edits[batch]},
        )
        for batch, summary in by_batch.items()
    ]


def parents_of(manifests: list[Manifest]) -> dict[str, str]:
    """Return the nearest known ancestor of each version, including versions without files.

    Each batch of a set names the version that added it, which is an ancestor.
    """
    parents: dict[str, str] = {}
    for manifest in manifests:
        assert manifest.parent is not None
        entered = {str(summary["version"]) for summary in manifest.batches.values()} - {manifest.version}
        line = sorted({manifest.parent, ORIGINAL, *entered}, key=version_number, reverse=True)
        for version, ancestor in pairwise((manifest.version, *line)):
            parents[version] = max(parents.get(version, ORIGINAL), ancestor, key=version_number)
    return parents
