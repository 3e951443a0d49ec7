"""One set in two orders and two batchings: the same bits from the same stored z, equal scores from new searches."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from editing_core.editor.editor import JointEditor
from editing_core.edits import AcceptedEdit
from editing_core.measuring.metrics import Metrics, evaluate_cases, summarise
from editing_core.memit.update import Update
from editing_core.models.views import make_view
from tests.benchmarks.update_speed import digest_of
from tests.benchmarks.workplace import Workplace

NUM_EDITS = 100
SHARES = (37, 63)
"""Edits of the two batches of the other batching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """What was measured."""

    same_digest: bool
    """From the same stored z, in another order and given in two batches."""
    worst_difference: float
    """‖W − W'‖ / ‖W' − W₀‖ of an edited matrix if z is searched again in another order and batching."""
    scores: tuple[Metrics, Metrics]
    """Of both searches."""

    @property
    def same_scores(self) -> bool:
        """Whether all shares that are counted agree."""
        one, other = self.scores
        return (one.reliability, one.efficacy_score, one.paraphrase_score, one.neighborhood_score) == (
            other.reliability,
            other.efficacy_score,
            other.paraphrase_score,
            other.neighborhood_score,
        )


def measure_repeats(place: Workplace) -> Repeated:
    """Build the same set three times."""
    edits = place.edits[:NUM_EDITS]
    with tempfile.TemporaryDirectory() as name:
        first = place.editor(Path(name) / "one")
        first.compute_targets(edits, live=edits)
        once = first.build(edits)
        again = place.editor(Path(name) / "one")
        again.build(edits[: SHARES[0]])
        same = again.build(tuple(reversed(edits)))
        anew = _searched_in_two(place.editor(Path(name) / "other"), edits)
    return Repeated(
        same_digest=digest_of(once) == digest_of(same),
        worst_difference=_worst(place, once, anew),
        scores=(_scores(place, once, edits), _scores(place, anew, edits)),
    )


def _searched_in_two(editor: JointEditor, edits: Sequence[AcceptedEdit]) -> Update:
    backwards = tuple(reversed(edits))
    editor.compute_targets(backwards[: SHARES[0]], live=backwards[: SHARES[0]])
    editor.compute_targets(backwards[SHARES[0] :], live=backwards)
    return editor.build(backwards)


def _worst(place: Workplace, one: Update, other: Update) -> float:
    differences = []
    for name, weight in one.weights.items():
        change = weight - place.loaded.model.get_parameter(name)
        differences.append(float((other.weights[name] - weight).norm() / change.norm()))
    return max(differences)


def _scores(place: Workplace, update: Update, edits: Sequence[AcceptedEdit]) -> Metrics:
    view = make_view(place.loaded.model, update.weights)
    return summarise(evaluate_cases(view, place.loaded.tokenizer, [(accepted.edit, ()) for accepted in edits]))
