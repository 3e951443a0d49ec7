"""What a version changes of its base, matrix by matrix, and how much of that a rounding or an adapter loses.

Everything in float64, since the change is the difference of two numbers that are nearly equal.
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
"""Of ‖W‖: what rounding to float32 may cost. An adapter that loses no more is as exact as the version itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One edited matrix beside the one that it stands for."""

    name: str
    edited: Tensor
    """As served."""
    original: Tensor
    """As the version was solved from: the base's, in the dtype that the model computed in."""

    @property
    def delta(self) -> Tensor:
        """Served minus original, float64, shaped as the parameter."""
        return self.edited.double() - self.original.double()

    @property
    def size(self) -> float:
        """‖Δ‖/‖W‖."""
        return _ratio(self.delta.norm(), self.original.double().norm())

    def rounding(self, dtype: torch.dtype) -> float:
        """‖rounded − served‖/‖Δ‖ of the served matrix in another dtype."""
        served = self.edited.double()
        return _ratio((self.edited.to(dtype).double() - served).norm(), self.delta.norm())


def change_of(name: str, base: BaseCheckpoint, manifest: Manifest, tensors: Mapping[str, Tensor]) -> Change:
    """The change of one matrix. Raises StoreMismatch where the base has no such matrix."""
    solved_in = DTYPES[str(manifest.settings.get("dtype", "float32"))]
    return Change(name=name, edited=tensors[name], original=base.tensor(name).to(solved_in))


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """B A ≈ Δ of one layer."""

    a_RM: Tensor
    b_HR: Tensor
    needed_rank: int
    """The least that loses no more than float32 does anyway."""
    error: float
    """‖B A − Δ‖/‖Δ‖ of the factors as they are, rounded to float32."""

    @property
    def rank(self) -> int:
        """R."""
        return self.a_RM.shape[0]


def factorise(change: Change, *, is_transposed: bool, max_rank: int | None) -> Factors:
    """The best factors of the change (thin SVD), of the rank that it needs or, if that is less, of ``max_rank``.

    ``is_transposed``: the matrix is stored [M, H], as Conv1D does.
    """
    delta_HM = change.delta.T if is_transposed else change.delta
    u_HK, sizes_K, v_KM = torch.linalg.svd(delta_HM, full_matrices=False)
    needed = _needed_rank(sizes_K, allowed=EXACT * float(change.edited.double().norm()))
    rank = max(1, min(needed, max_rank or needed))
    roots_R = sizes_K[:rank].sqrt()
    a_RM = (roots_R[:, None] * v_KM[:rank]).float().contiguous()
    b_HR = (u_HK[:, :rank] * roots_R).float().contiguous()
    lost = (b_HR.double() @ a_RM.double() - delta_HM).norm()
    return Factors(a_RM=a_RM, b_HR=b_HR, needed_rank=needed, error=_ratio(lost, delta_HM.norm()))


def _needed_rank(sizes_K: Tensor, *, allowed: float) -> int:
    """The least rank of which the rest, the root of the sum of the smaller squares, is no more than allowed."""
    rest_K = sizes_K.square().flip(0).cumsum(0).flip(0).sqrt()
    return int((rest_K > allowed).sum())


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) else float(part)
