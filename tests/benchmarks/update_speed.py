"""Keys, residuals and solve of a set, against full forwards and a general inverse; and a set that grows."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import pad

from editing_core.editor.editor import JointEditor
from editing_core.edits import AcceptedEdit, canonical
from editing_core.memit.tokens import TokenRow
from editing_core.memit.update import Update, solve_edits
from editing_core.models.views import make_view
from tests.benchmarks.workplace import Workplace

NUM_EDITS = 100
PLAIN_BATCH_ROWS = 512
NUM_LIVE, NUM_NEW = 500, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSpeed:
    """What was measured."""

    plain_seconds: float
    ours_seconds: float
    worst_difference: float
    """Of a layer's change, relative."""

    @property
    def ratio(self) -> float:
        """The ratio of the speeds."""
        return self.plain_seconds / self.ours_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Some new edits on top of many."""

    whole_seconds: float
    """The whole set from nothing."""
    grown_seconds: float
    """The same set when all but the new ones were live before."""
    is_same: bool
    """Equal digests."""

    @property
    def share(self) -> float:
        """The share of the new edits in the whole cost."""
        return self.grown_seconds / self.whole_seconds


def measure_update(place: Workplace, *, num_runs: int) -> UpdateSpeed:
    """Time both, from token rows and z to the new matrices; neither has anything kept."""
    edits = canonical(place.edits[:NUM_EDITS])
    with tempfile.TemporaryDirectory() as folder:
        editor = place.editor(Path(folder))
        editor.compute_targets(edits, live=edits)
        found = editor.searches(edits)
        targets = torch.stack([found[edit.id].targets_EH[0] for edit in edits])
        rows = [editor.rows_of(edit).prompts for edit in edits]
        plain_times, ours_times = [], []
        for _ in range(num_runs):
            started = time.perf_counter()
            ours = solve_edits(
                place.loaded, rows, targets, covariances=place.artefacts.covariances, config=place.config
            )
            ours_times.append(time.perf_counter() - started)
            started = time.perf_counter()
            plain = plain_update(place, editor, edits, targets_NH=targets)
            plain_times.append(time.perf_counter() - started)
    return UpdateSpeed(
        plain_seconds=median(plain_times), ours_seconds=median(ours_times), worst_difference=_worst(ours, plain)
    )


def measure_growth(place: Workplace) -> Growth:
    """Time both, the search for z included."""
    live, new = place.edits[:NUM_LIVE], place.edits[NUM_LIVE : NUM_LIVE + NUM_NEW]
    with tempfile.TemporaryDirectory() as name:
        before = place.editor(Path(name) / "grown")
        before.compute_targets(live, live=live)
        before.build(live)
        started = time.perf_counter()
        before.compute_targets(new, live=(*live, *new))
        grown = before.build((*live, *new))
        grown_seconds = time.perf_counter() - started
        fresh = place.editor(Path(name) / "whole")
        started = time.perf_counter()
        fresh.compute_targets((*live, *new), live=(*live, *new))
        fresh.build((*live, *new))
        whole_seconds = time.perf_counter() - started
        same = place.editor(Path(name) / "grown").build((*live, *new))
    return Growth(whole_seconds=whole_seconds, grown_seconds=grown_seconds, is_same=digest_of(grown) == digest_of(same))


def plain_update(
    place: Workplace, editor: JointEditor, edits: Sequence[AcceptedEdit], *, targets_NH: Tensor
) -> dict[int, Tensor]:
    """MEMIT.md, part 3: for each layer a full forward of all rows, and a general inverse."""
    loaded, config = place.loaded, place.config
    rows = [row for edit in edits for row in editor.rows_of(edit).prompts]
    weights: dict[str, Tensor] = {}
    changes: dict[int, Tensor] = {}
    for done, layer in enumerate(config.layers):
        view = make_view(loaded.model, weights)
        keys_NM, hidden_NH = _keys_and_hidden(place, view, rows, num_edits=len(edits), layer=layer)
        keys = keys_NM.T.double()
        residuals = ((targets_NH - hidden_NH) / (len(config.layers) - done)).T.double()
        bracket = config.prior_weight * place.artefacts.covariances[layer].double() + keys @ keys.T
        changes[layer] = residuals @ keys.T @ torch.linalg.inv(bracket)
        original = loaded.family.projection_weight(loaded.model, layer)
        name = loaded.family.projection_weight_name(layer)
        weights[name] = (original.double() + changes[layer]).to(original.dtype)
    return changes


@torch.no_grad()
def _keys_and_hidden(
    place: Workplace, view: torch.nn.Module, rows: Sequence[TokenRow], *, num_edits: int, layer: int
) -> tuple[Tensor, Tensor]:
    """Keys [N, M] and h^L [N, H] by forwards of the whole model, in padded batches as the public code runs them."""
    family, seen = place.loaded.family, []
    longest = max(len(row.ids) for row in rows)
    hook = family.projection_module(view, layer).register_forward_pre_hook(lambda _m, a: seen.append(a[0]))
    keys, hidden = [], []
    for first in range(0, len(rows), PLAIN_BATCH_ROWS):
        some = rows[first : first + PLAIN_BATCH_ROWS]
        ids = torch.stack([pad(torch.tensor(row.ids), (0, longest - len(row.ids))) for row in some])
        at = (torch.arange(len(some)), torch.tensor([row.lookup for row in some]))
        states = view(input_ids=ids, output_hidden_states=True).hidden_states
        keys.append(seen[-1][at])
        hidden.append(states[place.config.target_layer + 1][at])
    hook.remove()
    of_edits = torch.cat(keys).view(num_edits, -1, keys[0].shape[-1])
    bare = torch.cat(hidden).view(num_edits, -1, hidden[0].shape[-1])[:, 0]
    return 0.5 * of_edits[:, 0] + 0.5 * of_edits[:, 1:].mean(1), bare


def _worst(ours: Update, plain: dict[int, Tensor]) -> float:
    return max(
        float((ours.layers[layer].delta_HM - expected).norm() / expected.norm()) for layer, expected in plain.items()
    )


def digest_of(update: Update) -> str:
    """Sha256 of the edited matrices as they would be stored."""
    return hashlib.sha256(save(update.weights)).hexdigest()
