"""Devices that a test runs on. The test is skipped if the machine has none of the kind."""

from __future__ import annotations

import pytest
import torch

CUDA = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
)
DEVICES = ("cpu", CUDA)
