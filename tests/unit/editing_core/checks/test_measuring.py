"""The early verdict agrees with the whole check, and measures no more than it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from editing_core.asking.perplexity import perplexity
from editing_core.asking.probes import build_probes
from editing_core.checks.checks import CheckLimits, measuring_of
from editing_core.checks.measurement import Measuring
from editing_core.checks.questions import Answering, Models
from tests.support.tiny_models import tiny_tokenizer
from tests.unit.editing_core.checks.examples import (
    HELDOUT,
    LOOSE,
    NAMES,
    accepted,
    candidate_of,
    changed_answers,
    check,
    kept_answers,
    original_of,
)

STRICT: dict[str, Any] = {
    "reliability": {"min_reliability": 1.0},
    "specificity": {"min_specificity": 1.0},
    "earlier": {"min_earlier_kept": 1.0},
    "drift": {"max_drift": 1e-6},
    "perplexity": {"max_perplexity_rise": 1e-9},
    "norms": {"max_delta_norm": 0.1},
}


def measuring(asked: list[int] | None = None) -> Measuring:
    """Of a candidate that breaks every strict limit; ``asked`` gets the number of rows done."""
    original, tokenizer = original_of("gptj"), tiny_tokenizer()
    (subject, before, _), *_ = changed_answers("gptj")
    (same, answer), *_ = kept_answers("gptj")
    new = [accepted("nobody at all", "Paris"), *(accepted(s, after) for s, _, after in changed_answers("gptj")[1:4])]
    return measuring_of(
        Models(
            original=original,
            parent=Answering(original, tokenizer),
            candidate=Answering(candidate_of("gptj"), tokenizer),
            tokenizer=tokenizer,
        ),
        live=[accepted(subject, before), accepted(same, answer), *new],
        new=new,
        probes=build_probes(original, [HELDOUT[i : i + 32] for i in range(0, 160, 8)]),
        heldout_ids=HELDOUT,
        base_perplexity=perplexity(original, HELDOUT),
        delta_norms={NAMES["gptj"]: 0.3},
        max_earlier=200,
        seed=0,
        on_progress=lambda done, total: asked.append(done) if asked is not None else None,
    )


@pytest.mark.parametrize("limit", ["reliability", "earlier", "drift", "norms"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_broken_limit_is_found_wherever_one_begins_to_look(limit: Any, is_first: bool) -> None:
    limits = replace(LOOSE, min_reliability=0.0, min_earlier_kept=0.0)
    strict: CheckLimits = replace(limits, **STRICT[limit])
    found = measuring().find_broken(strict, first=[limit] if is_first else [])
    assert [broken.limit for broken in found] == [limit]


def test_what_keeps_every_limit_passes_early_as_it_does_in_whole() -> None:
    limits = replace(LOOSE, min_reliability=0.0, min_earlier_kept=0.0)
    assert measuring().find_broken(limits) == ()


def test_nothing_is_measured_after_the_first_broken_limit() -> None:
    rows: list[int] = []
    measuring(rows).find_broken(replace(LOOSE, **STRICT["norms"]))
    assert rows == []
    measuring(rows).find_broken(replace(LOOSE, **STRICT["earlier"]), first=["earlier"])
    assert 0 < rows[-1] <= 4, "two earlier edits, asked of parent and candidate"


def test_harm_of_all_live_edits_together_is_no_harm_of_the_new_ones() -> None:
    limits = replace(LOOSE, max_drift=1e-6, min_reliability=0.0)
    candidate = candidate_of("gptj")
    new = [accepted("nobody", "Paris")]
    report = check("gptj", new, limits=limits, parent=candidate)
    assert not report.passed
    assert report.broken == ()
    assert [broken.limit for broken in check("gptj", new, limits=limits).broken] == ["drift"]
