"""Computes the change of each matrix in a version, and the share of it that rounding or an adapter loses.

All computations use float64, because the change is the difference of two nearly equal numbers.
"""

# Dims: H rows of the change (the layer's output), M columns (its input), R rank of an adapter.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from editing_core.export.checkpoint.base import BaseCheckpoint
from editing_core.models.load import DTYPES
from editing_core.versions.manifest import Manifest

EXACT = 2.0**-24
"""Error of rounding to float32, as a share of ‖W‖. An adapter with no larger error is as exact as the version."""
SPARE_PROBES = 8
"""Number of probes in addition to the expected rank."""
POWER_STEPS = 2
PROBE_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An edited matrix and the original matrix that it replaces."""

    name: str
    edited: Tensor
    """The matrix as served."""
    original: Tensor
    """The base's matrix from which the version was solved, in the dtype in which the model computed."""

    @property
    def delta(self) -> Tensor:
        """Return served minus original in float64, shaped as the parameter."""
        return self.edited.double() - self.original.double()

    @property
    def size(self) -> float:
        """‖Δ‖/‖W‖."""
        return _ratio(self.delta.norm(), self.original.double().norm())

    def rounding(self, dtype: torch.dtype) -> float:
        """Return ‖rounded − served‖/‖Δ‖ for the served matrix rounded to another dtype."""
        served = self.edited.double()
        return _ratio((self.edited.to(dtype).double() - served).norm(), self.delta.norm())


def change_of(name: str, base: BaseCheckpoint, manifest: Manifest, tensors: Mapping[str, Tensor]) -> Change:
    """Return the change of one matrix. Raises StoreMismatch if the base has no such matrix."""
    solved_in = DTYPES[str(manifest.settings.get("dtype", "float32"))]
    return Change(name=name, edited=tensors[name], original=base.tensor(name).to(solved_in))


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """The factors of one layer's change: B A ≈ Δ."""

    a_RM: Tensor
    b_HR: Tensor
    needed_rank: int
    """Smallest rank that loses no more than float32 rounding does."""
    error: float
    """‖B A − Δ‖/‖Δ‖ for the stored factors, which are rounded to float32."""

    @property
    def rank(self) -> int:
        """R."""
        return self.a_RM.shape[0]


def factorise(change: Change, *, is_transposed: bool, num_edits: int, max_rank: int | None) -> Factors:
    """Return the best factors of the change (thin SVD), with the needed rank or ``max_rank``, whichever is less.

    ``is_transposed``: the matrix is stored as [M, H], as in Conv1D. ``num_edits``: the expected rank, because each edit
    adds at most one. A change of a higher rank is also factorised, but this takes longer.
    """
    delta_HM = change.delta.T if is_transposed else change.delta
    allowed = EXACT * float(change.edited.double().norm())
    u_HK, sizes_K, v_KM, left_out = _thin_svd(delta_HM, num_edits, allowed=allowed)
    needed = _needed_rank(sizes_K, left_out, allowed=allowed)
    rank = max(1, min(needed, max_rank or needed))
    roots_R = sizes_K[:rank].sqrt()
    a_RM = (roots_R[:, None] * v_KM[:rank]).float().contiguous()
    b_HR = (u_HK[:, :rank] * roots_R).float().contiguous()
    lost = (b_HR.double() @ a_RM.double() - delta_HM).norm()
    return Factors(a_RM=a_RM, b_HR=b_HR, needed_rank=needed, error=_ratio(lost, delta_HM.norm()))


def _thin_svd(delta_HM: Tensor, expected_rank: int, *, allowed: float) -> tuple[Tensor, Tensor, Tensor, float]:
    """Return U, the singular values, V and the norm of the remainder that these do not cover.

    First tries to find the range of the change by random probing with power steps, which costs a few products instead
    of a full decomposition. The remainder is measured. If it is larger than ``allowed``, or if the expected rank is
    too large for the matrix, the full decomposition is computed.
    """
    width = expected_rank + SPARE_PROBES
    if 2 * width < min(delta_HM.shape):
        range_HK = _range(delta_HM, width)
        within_KM = range_HK.T @ delta_HM
        left_out = float((delta_HM - range_HK @ within_KM).norm())
        if left_out <= allowed:
            u_KK, sizes_K, v_KM = torch.linalg.svd(within_KM, full_matrices=False)
            return range_HK @ u_KK, sizes_K, v_KM, left_out
    return (*torch.linalg.svd(delta_HM, full_matrices=False), 0.0)


def _range(delta_HM: Tensor, width: int) -> Tensor:
    """Return an orthonormal basis [H, K] of the range of the change's largest directions (Halko et al., 2011)."""
    probes_MK = torch.randn(
        delta_HM.shape[1], width, generator=torch.Generator().manual_seed(PROBE_SEED), dtype=delta_HM.dtype
    )
    range_HK = torch.linalg.qr(delta_HM @ probes_MK).Q
    for _ in range(POWER_STEPS):
        range_HK = torch.linalg.qr(delta_HM @ torch.linalg.qr(delta_HM.T @ range_HK).Q).Q
    return range_HK


def _needed_rank(sizes_K: Tensor, left_out: float, *, allowed: float) -> int:
    """Return the smallest rank whose remainder is at most ``allowed``.

    The remainder is the root of the sum of the squares of the other singular values and of ``left_out``.
    """
    rest_K = (sizes_K.square().flip(0).cumsum(0).flip(0) + left_out**2).sqrt()
    return int((rest_K > allowed).sum())


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) else float(part)
