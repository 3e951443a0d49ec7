"""Seconds and peak memory of a stretch of work, on the CPU (Linux) or on a CUDA device."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(slots=True)
class Reading:
    """What was measured of one stage; a stage may be measured in several pieces."""

    seconds: float = 0.0
    start_bytes: int | None = None
    """Memory in use when its first piece began."""
    peak_bytes: int = 0

    @property
    def grown_bytes(self) -> int:
        """Most memory used beyond what was in use at the start."""
        return self.peak_bytes - (self.start_bytes or 0)

    def add(self, seconds: float, *, start_bytes: int, peak_bytes: int) -> None:
        """One piece more."""
        self.seconds += seconds
        self.start_bytes = start_bytes if self.start_bytes is None else self.start_bytes
        self.peak_bytes = max(self.peak_bytes, peak_bytes)


class Meter:
    """Reads clock and memory; on the CPU the memory is this process's resident set, whose peak the kernel keeps."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_cuda = device.type == "cuda"

    @contextmanager
    def piece(self, reading: Reading) -> Iterator[None]:
        """Add what happens inside to ``reading``; what was freed before is given back first."""
        _give_back()
        start = self._reset()
        began = time.perf_counter()
        yield
        self._wait()
        reading.add(time.perf_counter() - began, start_bytes=start, peak_bytes=self._peak())

    def _wait(self) -> None:
        if self._is_cuda:
            torch.cuda.synchronize(self._device)

    def _reset(self) -> int:
        """Forget the peak so far; returns what is in use."""
        if self._is_cuda:
            self._wait()
            torch.cuda.reset_peak_memory_stats(self._device)
            return torch.cuda.memory_allocated(self._device)
        Path("/proc/self/clear_refs").write_text("5")
        return _status_bytes("VmRSS")

    def _peak(self) -> int:
        return torch.cuda.max_memory_allocated(self._device) if self._is_cuda else _status_bytes("VmHWM")


def _give_back() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"/proc/self/status has no {name}")
