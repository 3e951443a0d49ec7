"""In which dtype what is computed: the one place that decides it."""

from __future__ import annotations

import torch

SOLVE_DTYPE = torch.float64
"""Of the least-squares solve: λC is badly conditioned, and it costs little beside the rest."""


def edited_dtype(model_dtype: torch.dtype) -> torch.dtype:
    """Dtype of the edited matrices: never under float32, since rounding to half loses most of a small update."""
    return torch.promote_types(model_dtype, torch.float32)


def search_dtype(model_dtype: torch.dtype) -> torch.dtype:
    """Dtype of δ, Adam and the losses: never under float32, whatever the model computes in."""
    return torch.promote_types(model_dtype, torch.float32)


def default_model_dtype(device: torch.device) -> torch.dtype | None:
    """Dtype of the model where none was asked for; None: the checkpoint's. CPUs compute in half precision slowly."""
    return torch.float32 if device.type == "cpu" else None
