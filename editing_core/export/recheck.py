"""Whether the edits still take in what was exported, where rounding or a lower rank may have cost some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from editing_core.edits import AcceptedEdit
from editing_core.evaluation.scoring import OnRows, score_targets

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """Edits that take: every token of the new object is the first choice after the prompt."""

    total: int
    served: int
    """As the version is served."""
    exported: int
    """As exported."""
    lost: tuple[str, ...]
    """Ids of those that took as served and no longer do."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "lost": list(self.lost)}


def taken_edits(model: nn.Module, tokenizer: Any, edits: Sequence[AcceptedEdit], *, on_rows: OnRows) -> frozenset[str]:
    """The ids of the edits that take in this model."""
    pairs = [(accepted.edit.filled_prompt, accepted.edit.target_new) for accepted in edits]
    scores = score_targets(model, tokenizer, pairs, on_rows=on_rows)
    return frozenset(accepted.id for accepted, score in zip(edits, scores, strict=True) if score.greedy_match)


def compare(edits: Sequence[AcceptedEdit], served: frozenset[str], exported: frozenset[str]) -> Recheck:
    """What was taken before and after, in the order of the edits."""
    lost = tuple(accepted.id for accepted in edits if accepted.id in served - exported)
    return Recheck(total=len(edits), served=len(served), exported=len(exported), lost=lost)
