"""How fast a device multiplies matrices and moves bytes; and how long work takes at least at such rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tests.benchmarks.arithmetic import Work

NUM_RUNS = 7
"""The best counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Operations and bytes per second."""

    model: float
    """In the model's dtype."""
    single: float
    """In float32."""
    double: float
    """In float64."""
    bandwidth: float

    def operations_seconds(self, work: Work) -> float:
        """Least time for the operations alone."""
        return work.operations / self.model + work.single / self.single + work.double / self.double

    def bytes_seconds(self, work: Work) -> float:
        """Least time for the bytes alone."""
        return work.num_bytes / self.bandwidth

    def limit_seconds(self, work: Work) -> float:
        """The larger of both: no run is faster."""
        return max(self.operations_seconds(work), self.bytes_seconds(work))

    def __str__(self) -> str:
        """Numbers for people."""
        return (
            f"{self.model / 1e12:.3g} TFLOPS in the model's dtype, {self.single / 1e12:.3g} in float32, "
            f"{self.double / 1e12:.3g} in float64, {self.bandwidth / 1e9:.4g} GB/s"
        )


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Square products of a size that fills the device, and copies of a large tensor."""
    single = _matrix_rate(device, torch.float32)
    return Rates(
        model=single if dtype == torch.float32 else _matrix_rate(device, dtype),
        single=single,
        double=_matrix_rate(device, torch.float64),
        bandwidth=_bandwidth(device),
    )


def _matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    size = 8192 if device.type == "cuda" else 1536
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * size**3 / _best_seconds(lambda: torch.mm(a, b, out=out), device)


def _bandwidth(device: torch.device) -> float:
    source = torch.zeros(1 << (28 if device.type == "cuda" else 26), dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_seconds(lambda: target.copy_(source), device)


def _best_seconds(work: Callable[[], object], device: torch.device) -> float:
    def timed() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    timed()
    return min(timed() for _ in range(NUM_RUNS))
