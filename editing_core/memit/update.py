"""The whole update: from edits with their z to new matrices, always from the original weights (MEMIT, Algorithm 1).

Knows no files, versions or checks. It never writes to a model: each step works on a view.
"""

# Dims: N edits, P held keys, H hidden size, M width of the projection's input.

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from editing_core.memit.config import MemitConfig
from editing_core.memit.first_layer_inputs import KeptReads
from editing_core.memit.keys import KeySweep
from editing_core.memit.solve import Solution, nearest_keys, solve_holding
from editing_core.memit.tokens import TokenRow
from editing_core.models.load import LoadedModel
from editing_core.models.streams import Bringer
from editing_core.models.views import make_view
from editing_core.precision import SOLVE_DTYPE, edited_dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldKeys:
    """Rows that the solve holds. Their keys enter its bracket with a zero residual."""

    rows: Sequence[Sequence[TokenRow]]
    """Rows of each held prompt, one per context, the bare one first; prompts in canonical order."""
    kept: KeptReads | None = None


@dataclass(frozen=True, slots=True)
class LayerUpdate:
    """The inputs and the result of one layer's step, for parity checks and reports."""

    keys_NM: Tensor
    residuals_NH: Tensor
    """Residuals, already divided by the number of layers left."""
    delta_HM: Tensor
    """The change of the matrix, float64."""
    held_PM: Tensor | None = None
    """Held keys, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """New matrices by parameter name, in the dtype in which they are stored and served."""

    weights: dict[str, Tensor]
    layers: dict[int, LayerUpdate]
    delta_norms: dict[str, float]
    """‖Δ‖ / ‖W‖ of each edited matrix (Frobenius), by parameter name."""
    nearest: dict[int, tuple[int, float]] = field(default_factory=dict)
    """For each edit, the edit about another subject with the most similar key at the last layer, and the cosine."""
    keys_seconds: float = 0.0
    """Time spent on keys and residuals."""
    solve_seconds: float = 0.0


def solve_edits(
    loaded: LoadedModel,
    rows: Sequence[Sequence[TokenRow]],
    targets_NH: Tensor,
    *,
    covariances: Mapping[int, Tensor],
    config: MemitConfig,
    kept: KeptReads | None = None,
    held: HeldKeys | None = None,
    subjects: Sequence[str] = (),
    solve: Callable[..., Solution] = solve_holding,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Update:
    """Solve all edits jointly from the original weights.

    ``rows[i]`` are edit i's prompt rows (one per context, the bare one first), and ``targets_NH`` the z of each edit.
    Both are in canonical order. Without edits nothing changes, and ``weights`` is empty. ``on_progress(done, total)``
    counts layers. ``kept``: cached reads of earlier calls for the same model and configuration. ``held``: keys whose
    output must not change. ``subjects``: the subject of each edit, for ``Update.nearest``. ``solve`` solves one layer,
    with the arguments of ``solve_holding``.
    """
    if not rows:
        return Update(weights={}, layers={}, delta_norms={})
    solved = _Solved()
    began = _now(loaded.device)
    sweep = _sweep(loaded, rows, config, kept)
    holding = _sweep(loaded, held.rows, config, held.kept) if held is not None and held.rows else None
    targets = targets_NH.to(loaded.device)
    with Bringer(loaded.device) as bringer:
        for done, layer in enumerate(config.layers):
            on_progress(done, len(config.layers))
            covariance = bringer.bring(partial(covariances.__getitem__, layer))
            if done:
                _advance(loaded, solved.weights, config.layers[done - 1], sweep, holding)
            now = make_view(loaded.model, solved.weights)
            keys, hidden = sweep.read(now, layer)
            residuals = (targets - hidden.to(targets.dtype)) / (len(config.layers) - done)
            held_PM = holding.read(now, layer)[0] if holding is not None else None
            covariance_MM = covariance.result()
            started = _now(loaded.device)
            solution = _solution(keys, residuals, covariance_MM, held_PM, config, solve=solve)
            del covariance, covariance_MM  # the device never holds the covariances of two layers
            solved.take(loaded, layer, solution, LayerUpdate(keys, residuals, solution.delta_HM, held_PM))
            solved.seconds += _now(loaded.device) - started
    on_progress(len(config.layers), len(config.layers))
    return Update(
        weights=solved.weights,
        layers=solved.layers,
        delta_norms=solved.norms,
        nearest=nearest_keys(keys.T, solution.solved_MN, subjects) if subjects else {},
        keys_seconds=_now(loaded.device) - began - solved.seconds,
        solve_seconds=solved.seconds,
    )


@dataclass(slots=True)
class _Solved:
    """The results of the layers so far."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    layers: dict[int, LayerUpdate] = field(default_factory=dict)
    norms: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def take(self, loaded: LoadedModel, layer: int, solution: Solution, update: LayerUpdate) -> None:
        """Make the new matrix of the layer."""
        name = loaded.family.projection_weight_name(layer)
        self.weights[name], self.norms[name] = _add(loaded, layer, solution.delta_HM)
        self.layers[layer] = update


def _advance(
    loaded: LoadedModel, weights: Mapping[str, Tensor], layer: int, sweep: KeySweep, holding: KeySweep | None
) -> None:
    """Carry all rows over a solved layer."""
    now = make_view(loaded.model, weights)
    for each in (sweep, holding):
        if each is not None:
            each.advance(now, layer)


def _now(device: torch.device) -> float:
    """Return the time in seconds, after a CUDA device has finished its work: calls return before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _solution(
    keys_NM: Tensor,
    residuals_NH: Tensor,
    covariance_MM: Tensor,
    held_PM: Tensor | None,
    config: MemitConfig,
    *,
    solve: Callable[..., Solution],
) -> Solution:
    return solve(
        keys_NM.T,
        residuals_NH.T,
        covariance_MM,
        prior_weight=config.prior_weight,
        held_MP=None if held_PM is None else held_PM.T,
        held_weight=config.guard_weight,
    )


def _sweep(
    loaded: LoadedModel, rows: Sequence[Sequence[TokenRow]], config: MemitConfig, kept: KeptReads | None
) -> KeySweep:
    return KeySweep(
        loaded, rows, layers=config.layers, bare_weight=config.bare_weight, kept=KeptReads() if kept is None else kept
    )


def _add(loaded: LoadedModel, layer: int, delta_HM: Tensor) -> tuple[Tensor, float]:
    """Return the new matrix as stored, and ‖Δ‖ / ‖W‖."""
    original = loaded.family.projection_weight(loaded.model, layer)
    wide = original.to(SOLVE_DTYPE)
    delta = delta_HM.to(wide.device)
    change = delta.T if loaded.family.projection_is_transposed else delta
    new = (wide + change).to(edited_dtype(original.dtype)).contiguous()
    return new, float(delta.norm() / wide.norm())
