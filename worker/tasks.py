"""The functions that RQ calls by dotted name. They use the stages that the worker process has set up."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from worker.commit.committer import Committer
from worker.exports import ExportStage
from worker.protocol.keys import COMMIT_UNIT, export_of
from worker.targets import TargetStage


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The stages of the work, with model and store loaded."""

    targets: TargetStage
    committer: Committer
    exporter: ExportStage

    def is_held_up(self, unit: str) -> bool:
        """Return whether the last run of the unit failed for a reason that no batch caused."""
        if export_of(unit) is not None:
            return False
        return self.committer.is_held_up if unit == COMMIT_UNIT else self.targets.is_held_up


STAGES: ContextVar[Stages] = ContextVar("stages")
"""Set by the worker process around each job."""


def compute_targets(batch: str, shard: int) -> None:
    """Compute the targets of one shard."""
    STAGES.get().targets.run(batch, shard)


def commit() -> None:
    """Commit all ready batches."""
    STAGES.get().committer.run()


def export(export: str) -> None:
    """Write one export."""
    STAGES.get().exporter.run(export)
