"""The checks fail what must not be served, and leave every model as it was."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from editing_core.models.views import make_view
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily
from tests.unit.editing_core.checks.examples import (
    LOOSE,
    NAMES,
    accepted,
    candidate_of,
    changed,
    changed_answers,
    check,
    original_of,
)

each_family = pytest.mark.parametrize("family", TINY_FAMILIES)


@each_family
def test_the_original_as_its_own_candidate_has_no_drift_and_loses_nothing(family: TinyFamily) -> None:
    report = check(family, [accepted("nobody", "Paris")], candidate=make_view(original_of(family), {}))
    assert (report.summary["drift"], report.summary["perplexity"]["rise"]) == (0.0, 0.0)
    assert report.summary["specificity"]["share"] == 1.0
    assert report.summary["room"] == 1.0


@each_family
def test_harm_is_the_batchs_against_a_good_parent_and_the_stores_against_a_bad_one(family: TinyFamily) -> None:
    limits = replace(LOOSE, max_drift=1e-4, min_reliability=0.0)
    new = [accepted("nobody", "Paris")]
    assert "this batch alone costs too much: drift" in check(family, new, limits=limits).reasons[0]
    same_as_parent = make_view(candidate_of(family), {})
    report = check(family, new, limits=limits, parent=candidate_of(family), candidate=same_as_parent)
    assert "the store is full: 1 live edits, drift" in report.reasons[0]
    assert report.summary["drift_from_parent"] == 0.0


@each_family
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_with_a_single_nan_or_infinity_fail(family: TinyFamily, value: float) -> None:
    weight = original_of(family).get_parameter(NAMES[family]).clone()
    weight[3, 5] = value
    report = check(family, [accepted("nobody", "Paris")], candidate=changed(family, weight))
    assert not report.passed
    assert "no finite numbers" in report.reasons[0]
    json.dumps([report.summary, report.edits], allow_nan=False)


@each_family
def test_wrecked_weights_fail_with_the_default_kind_of_limits(family: TinyFamily) -> None:
    weight = original_of(family).get_parameter(NAMES[family]) * 50
    limits = replace(LOOSE, max_drift=0.5, max_perplexity_rise=0.1, min_reliability=0.0)
    report = check(family, [accepted("nobody", "Paris")], candidate=changed(family, weight), limits=limits)
    assert any("drift" in reason for reason in report.reasons)


@each_family
def test_progress_grows_to_its_total(family: TinyFamily) -> None:
    reported: list[tuple[int, int]] = []
    new = [
        accepted(subject, after, paraphrases=("{}, a city in",)) for subject, _, after in changed_answers(family)[:2]
    ]
    report = check(
        family,
        new,
        live=[*new, accepted("earlier", "Paris")],
        parent=make_view(original_of(family), {}),
        on_progress=lambda done, total: reported.append((done, total)),
    )
    assert reported[-1][0] == reported[-1][1]
    assert [done for done, _ in reported] == sorted({done for done, _ in reported})
    assert len(report.edits[new[0].id]["paraphrases"]) == 1


def test_a_check_that_is_stopped_midway_leaves_the_models_as_they_were() -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, _total: int) -> None:
        if done > 5:
            raise Stopped

    state = {name: tensor.clone() for name, tensor in original_of("gptj").state_dict().items()}
    with pytest.raises(Stopped):
        check("gptj", [accepted("nobody", "Paris")], on_progress=stop)
    assert all(torch.equal(tensor, state[name]) for name, tensor in original_of("gptj").state_dict().items())
