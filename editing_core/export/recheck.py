"""Checks whether the edits still hold in an export, because rounding or a lower rank may lose some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from editing_core.asking.scoring import OnRows, counting_rows, score_targets
from editing_core.edits import AcceptedEdit
from editing_core.errors import ExportRefused, InvalidSettings
from editing_core.export.adapter import Adapter
from editing_core.models.load import LoadedModel, load_model
from editing_core.models.views import make_view

OnProgress = Callable[[int, int], None]
"""Called with the number of scored prompts and their total. Prompts before and after the export both count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """Counts of edits that hold. An edit holds if each token of the new object is the first choice after the prompt."""

    total: int
    served: int
    """Number of edits that hold in the served version."""
    exported: int
    """Number of edits that hold in the export."""
    lost: tuple[str, ...]
    """Ids of edits that hold in the served version but not in the export."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "lost": list(self.lost)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecheckQuestions:
    """Scores the edits twice: in the model with the served matrices, and in the export."""

    edits: Sequence[AcceptedEdit]
    tensors: Mapping[str, Tensor]
    served: Callable[[], LoadedModel]
    on_progress: OnProgress

    def of_checkpoint(self, folder: Path, *, device: str | None, dtype: str) -> Recheck:
        """Load the written folder as a user does, and score the edits. Raises ExportRefused if loading fails."""
        count = self._counting()
        before = self._as_served(self.served(), count)
        try:
            loaded = load_model(str(folder), device=device, dtype=dtype)
        except InvalidSettings as error:
            raise ExportRefused(
                f"a checkpoint in {dtype} is loaded to ask its edits again, and that failed: {error.detail}. Export "
                "with `errata export --out`, where no other model is in memory"
            ) from error
        return compare(self.edits, before, holding_edits(loaded.model, loaded.tokenizer, self.edits, on_rows=count))

    def of_adapter(self, adapter: Adapter) -> Recheck:
        """Score the edits in the served model with the adapter."""
        count, loaded = self._counting(), self.served()
        before = self._as_served(loaded, count)
        with adapter.attached(loaded.model):
            after = holding_edits(loaded.model, loaded.tokenizer, self.edits, on_rows=count)
        return compare(self.edits, before, after)

    def _counting(self) -> OnRows:
        return counting_rows(self.on_progress, 2 * len(self.edits))

    def _as_served(self, loaded: LoadedModel, count: OnRows) -> frozenset[str]:
        return holding_edits(make_view(loaded.model, self.tensors), loaded.tokenizer, self.edits, on_rows=count)


def holding_edits(
    model: nn.Module, tokenizer: Any, edits: Sequence[AcceptedEdit], *, on_rows: OnRows
) -> frozenset[str]:
    """Return the ids of the edits that hold in this model."""
    pairs = [(accepted.edit.filled_prompt, accepted.edit.target_new) for accepted in edits]
    scores = score_targets(model, tokenizer, pairs, on_rows=on_rows)
    return frozenset(accepted.id for accepted, score in zip(edits, scores, strict=True) if score.greedy_match)


def compare(edits: Sequence[AcceptedEdit], served: frozenset[str], exported: frozenset[str]) -> Recheck:
    """Compare the edits that hold before and after, in the order of the edits."""
    lost = tuple(accepted.id for accepted in edits if accepted.id in served - exported)
    return Recheck(total=len(edits), served=len(served), exported=len(exported), lost=lost)
