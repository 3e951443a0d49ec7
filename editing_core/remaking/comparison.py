"""Compares a rebuilt version with the stored one: its matrices and the scores of its edits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from editing_core.asking.scoring import TargetScore, counting_rows, score_targets
from editing_core.edits import AcceptedEdit
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from editing_core.precision import SOLVE_DTYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixDifference:
    """Difference of one edited matrix, in Frobenius norms."""

    name: str
    of_change: float | None
    """‖new − stored‖ / ‖stored − original‖; None if the stored matrix equals the original."""
    of_weight: float
    """‖new − stored‖ / ‖stored‖."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDifference:
    """Difference of the scores of the edits' own prompts in both versions."""

    num_edits: int
    holding_stored: int
    holding_new: int
    changed: tuple[str, ...]
    """Ids of the edits that hold in only one of the two versions."""
    largest_probability_change: float
    """Largest absolute change of a new object's probability."""


def matrix_differences(
    loaded: LoadedModel, stored: Mapping[str, Tensor], new: Mapping[str, Tensor]
) -> tuple[MatrixDifference, ...]:
    """Return the difference of each matrix that is edited in either version."""
    found = []
    for name in sorted({*stored, *new}):
        original = loaded.model.get_parameter(name).detach().to("cpu", SOLVE_DTYPE)
        before = stored[name].to("cpu", SOLVE_DTYPE) if name in stored else original
        after = new[name].to("cpu", SOLVE_DTYPE) if name in new else original
        difference, change = float((after - before).norm()), float((before - original).norm())
        of_change = difference / change if change else None
        found.append(MatrixDifference(name=name, of_change=of_change, of_weight=difference / float(before.norm())))
    return tuple(found)


def score_difference(
    loaded: LoadedModel,
    stored: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    *,
    live: Sequence[AcceptedEdit],
    on_progress: Callable[[int, int], None],
) -> ScoreDifference:
    """Score every edit's new object after its own prompt in both versions."""
    on_rows = counting_rows(on_progress, 2 * len(live))
    pairs = [(accepted.edit.filled_prompt, accepted.edit.target_new) for accepted in live]
    before, after = (
        score_targets(make_view(loaded.model, weights), loaded.tokenizer, pairs, on_rows=on_rows)
        for weights in (stored, new)
    )
    both: list[tuple[AcceptedEdit, TargetScore, TargetScore]] = list(zip(live, before, after, strict=True))
    return ScoreDifference(
        num_edits=len(live),
        holding_stored=sum(score.greedy_match for score in before),
        holding_new=sum(score.greedy_match for score in after),
        changed=tuple(a.id for a, one, other in both if one.greedy_match != other.greedy_match),
        largest_probability_change=max((abs(o.probability - b.probability) for _, b, o in both), default=0.0),
    )
