"""Each way to be rejected is counted under its own reason, and what a version did to the edits before it is counted."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from editing_core.asking.perplexity import Perplexities
from editing_core.checks.limits import CheckLimits
from editing_core.checks.takedown import judge_takedown
from editing_core.checks.verdict import Measured, Share, judge
from editing_core.edits import AcceptedEdit
from editing_core.versions.manifest import Manifest
from tests.support.facts import fact
from worker.commit.counts import changed, rejection
from worker.commit.group import Group
from worker.metrics import REASONS
from worker.protocol.entities import BatchOptions, BatchRecord, BatchSpec, BatchState, Pointer

LIMITS = CheckLimits(
    min_reliability=0.7,
    min_specificity=0.8,
    min_earlier_kept=0.9,
    max_drift=0.5,
    max_perplexity_rise=0.1,
    max_delta_norm=1.0,
    max_delta_per_edit=0.5,
)
FINE = Measured(
    num_live=20,
    num_new=10,
    reliability=Share(10, 10),
    generation_success=0.9,
    specificity=Share(95, 100),
    earlier=Share(10, 10),
    drift=0.1,
    drift_from_parent=0.01,
    answers_kept=0.97,
    perplexity=Perplexities(original=20.0, parent=20.8, candidate=21.0),
    delta_norms={"a.weight": 0.2},
)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"reliability": Share(6, 10)}, "reliability"),
        ({"specificity": Share(79, 100)}, "specificity"),
        ({"earlier": Share(8, 10)}, "earlier"),
        ({"guards": Share(1, 2)}, "guards"),
        ({"delta_norms": {"a.weight": 1.5}}, "harm"),
        ({"drift_from_parent": 0.6, "drift": 0.7}, "harm"),
        ({"perplexity": Perplexities(original=20.0, parent=20.0, candidate=23.0)}, "harm"),
        ({"drift": 0.7}, "capacity"),
        ({"perplexity": Perplexities(original=20.0, parent=21.9, candidate=22.5)}, "capacity"),
        ({"drift": math.nan}, "not_finite"),
        ({"delta_norms": {"a.weight": math.inf}}, "not_finite"),
        ({"not_finite": ("probabilities of targets",)}, "not_finite"),
        ({"reliability": Share(1, 10), "guards": Share(1, 2), "drift": 0.7}, "guards"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_a_rejection_is_counted_under_the_gravest_limit_that_the_batch_breaks(
    fault: dict[str, object], reason: str
) -> None:
    report = judge(replace(FINE, **fault), LIMITS, edits={})  # type: ignore[arg-type]
    assert not report.passed
    assert rejection(report) == reason
    assert reason in REASONS


def test_a_takedown_that_is_rejected_is_a_matter_of_capacity_or_of_numbers() -> None:
    costly = replace(FINE, num_new=0, perplexity=Perplexities(original=20.0, parent=21.0, candidate=23.0))
    assert rejection(judge_takedown(costly, LIMITS, edits={})) == "capacity"
    for fault in ({"drift": math.inf}, {"delta_norms": {"a": math.inf}}, {"not_finite": ("probabilities",)}):
        assert rejection(judge_takedown(replace(FINE, **fault), LIMITS, edits={})) == "not_finite"  # type: ignore[arg-type]


def _accepted(name: str, subject: str, target: str, *, batch: str) -> AcceptedEdit:
    return AcceptedEdit(
        id=name, edit=fact(subject, target), batch=batch, acceptance=int(batch[1:]), created="2026-01-01", author=None
    )


def test_what_a_version_replaces_and_takes_out_is_counted() -> None:
    kept, replaced, removed = (
        _accepted(name, subject, "English", batch="b1")
        for name, subject in (("e1", "Ada"), ("e2", "Eva"), ("e3", "Ida"))
    )
    parent = Manifest(
        version="v1",
        parent="v0",
        created="2026-01-01T00:00:00Z",
        store="s",
        model_fingerprint="f",
        settings={},
        edits=tuple(edit.to_json() for edit in (kept, replaced, removed)),
        batches={},
        delta_norms={},
        checks={},
        tensors={},
    )
    spec = BatchSpec(
        id="b2",
        acceptance=2,
        created="2026-01-02",
        author=None,
        options=BatchOptions(),
        num_edits=2,
        shard_size=64,
        request_hash="h",
        remove=("e3", "unknown"),
    )
    group = Group(
        batches=(BatchRecord(spec=spec, status=BatchState.CHECKING, updated="2026-01-02"),),
        pointer=Pointer(revision=1, version="v1"),
        parent=parent,
        edits=(_accepted("e4", "Eva", "Dutch", batch="b2"), _accepted("e5", "Uta", "Dutch", batch="b2")),
    )
    assert changed(group) == {"num_superseded": 1, "num_taken_out": 1}
