"""The one place that decides the dtype of each computation."""

from __future__ import annotations

import torch

SOLVE_DTYPE = torch.float64
"""Dtype of the least-squares solve: λC is badly conditioned, and float64 costs little here."""


def edited_dtype(model_dtype: torch.dtype) -> torch.dtype:
    """Dtype of the edited matrices: never under float32, since rounding to half loses most of a small update."""
    return torch.promote_types(model_dtype, torch.float32)


def search_dtype(model_dtype: torch.dtype) -> torch.dtype:
    """Dtype of δ, Adam and the losses: never under float32, whatever the model computes in."""
    return torch.promote_types(model_dtype, torch.float32)


def default_model_dtype(device: torch.device) -> torch.dtype | None:
    """Dtype of the model if you choose none; None: the checkpoint's. CPUs are slow in half precision."""
    return torch.float32 if device.type == "cpu" else None
