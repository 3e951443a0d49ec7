"""Each edit's share in the change of the weights: the solve with only that edit's residual.

The change is a sum over edits, Δ = Σᵢ rᵢ aᵢᵀ with aᵢ = (λC + K Kᵀ)⁻¹ kᵢ. The shares therefore need no solve for each
edit. Knows no checks.
"""

# Dims: N edits, L lost ones of them, M width of the projection's input, H of its output.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editing_core.memit.config import MemitConfig
from editing_core.memit.solve import solve_holding
from editing_core.memit.update import LayerUpdate, Update
from editing_core.models.load import LoadedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class EditShares:
    """Figures of all edits of a set, in its order. Each is a sum over the layers."""

    size_N: Tensor
    """Part of ‖Δ‖² / ‖W‖². All parts add up to it."""
    disturbance_N: Tensor
    """E‖rᵢ aᵢᵀ k‖² / E‖Wk‖² over ordinary text: the drift of the layers that the edit's share alone causes."""
    unreached_N: Tensor
    """‖r − Δk‖ / ‖r‖ at the target layer: the edit's own residual after the solve, at most about 1."""
    moved_NL: Tensor
    """[i, j]: the output change at the j-th lost edit's key by the share of edit i, over ‖r‖ of the lost edit."""


def shares_of(
    loaded: LoadedModel,
    update: Update,
    *,
    covariances: Mapping[int, Tensor],
    config: MemitConfig,
    lost: Sequence[int] = (),
) -> EditShares:
    """The shares of all edits in ``update``, float64 on the CPU. ``lost``: places of the lost edits among them."""
    layers = [
        _layer_shares(
            found,
            covariances[layer].to(found.keys_NM.device),
            loaded.family.projection_weight(loaded.model, layer),
            is_transposed=loaded.family.projection_is_transposed,
            config=config,
            lost=lost,
        )
        for layer, found in update.layers.items()
    ]
    return EditShares(
        size_N=torch.stack([layer.size_N for layer in layers]).sum(0),
        disturbance_N=torch.stack([layer.disturbance_N for layer in layers]).sum(0),
        unreached_N=layers[-1].unreached_N,
        moved_NL=torch.stack([layer.moved_NL for layer in layers]).sum(0),
    )


def _layer_shares(
    found: LayerUpdate,
    covariance_MM: Tensor,
    weight: Tensor,
    *,
    is_transposed: bool,
    config: MemitConfig,
    lost: Sequence[int],
) -> EditShares:
    delta_HM, keys_NM = found.delta_HM, found.keys_NM.to(found.delta_HM)
    residuals_NH, covariance_MM = found.residuals_NH.to(delta_HM), covariance_MM.to(delta_HM)
    weight_HM = (weight.T if is_transposed else weight).to(delta_HM)
    each_NN = torch.eye(len(keys_NM), dtype=delta_HM.dtype, device=delta_HM.device)
    answers_NM = solve_holding(
        keys_NM.T,
        each_NN,
        covariance_MM,
        prior_weight=config.prior_weight,
        held_MP=None if found.held_PM is None else found.held_PM.T,
        held_weight=config.guard_weight,
    ).delta_HM
    norms_N = residuals_NH.norm(dim=1).clamp(min=torch.finfo(delta_HM.dtype).tiny)
    ordinary = ((weight_HM @ covariance_MM) * weight_HM).sum()
    return EditShares(
        size_N=(((answers_NM @ delta_HM.T) * residuals_NH).sum(1) / weight_HM.square().sum()).cpu(),
        disturbance_N=(norms_N.square() * ((answers_NM @ covariance_MM) * answers_NM).sum(1) / ordinary).cpu(),
        unreached_N=((residuals_NH - keys_NM @ delta_HM.T).norm(dim=1) / norms_N).cpu(),
        moved_NL=(norms_N[:, None] * (answers_NM @ keys_NM[list(lost)].T).abs() / norms_N[list(lost)]).cpu(),
    )
