"""Decodes in a few fixed shapes, so CUDA captures each shape once and then launches it as one graph.

A step is padded to the next power of two of places and of positions. Padding rows read their own place and write into
the scratch place. A capture refers to the cache's tensors, so it is invalid once these are replaced.
"""


# ruff: noqa: N806 -- shape letters

# Dims: N places of the shape, V vocabulary.

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from service.generation.decoding.forward.cache import SMALLEST_LENGTH, PlacesCache
from service.generation.decoding.forward.calls import Calls
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)

Work = Callable[[], None]
Capture = Callable[[Work], Work]
"""Captures the work and returns a function that repeats it with the same tensors."""
RUNS_BEFORE_CAPTURE = 1
"""Steps of a shape that run plainly first, so libraries do their first-call setup outside of the capture."""


class CapturedDecode:
    """``Calls.decode`` for a device that launches operations more slowly than it computes them."""

    def __init__(self, calls: Calls, cache: PlacesCache, *, new_capture: Callable[[], Capture]) -> None:
        """``new_capture`` is called whenever all captures are dropped, because this frees their shared memory."""
        self._calls = calls
        self._cache = cache
        self._new_capture = new_capture
        self._capture: Capture | None = None
        self._usable = True
        self._steps: dict[tuple[int, int], _Step] = {}
        self._epoch = -1

    def decode(self, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Feed the first places their last tokens, at ``positions``. Returns the logits [N, V] after them."""
        if self._epoch != self._cache.epoch:
            self._begin_epoch()
        if not self._usable:
            return self._calls.decode(ids, positions)
        shape = (
            _rounded(len(ids), 1, self._cache.num_places),
            _rounded(max(positions) + 1, SMALLEST_LENGTH, self._cache.length),
        )
        step = self._steps.get(shape)
        if step is None:
            step = self._steps[shape] = _Step(self._calls, *shape, scratch=self._cache.scratch_place)
        step.fill(ids, positions)
        try:
            assert self._capture is not None, "an epoch has begun"
            step.run(self._capture)
        except RuntimeError as error:
            log_event(logger, "steps_not_captured", level=logging.WARNING, reason=str(error))
            self._usable = False
            self._steps.clear()
            return self._calls.decode(ids, positions)
        return step.logits_NV[: len(ids)]

    def _begin_epoch(self) -> None:
        self._steps.clear()
        self._capture = self._new_capture()
        self._usable = True
        self._epoch = self._cache.epoch


class _Step:
    """A step of one shape: its inputs, which are filled before each run, and its output."""

    def __init__(self, calls: Calls, num_places: int, length: int, *, scratch: int) -> None:
        self._calls = calls
        self._length = length
        self._scratch = scratch
        self._inputs_3N = torch.zeros((3, num_places), dtype=torch.long, device=calls.device)
        """Token ids, positions, and the places to write."""
        self._num_runs = 0
        self._again: Work | None = None
        self.logits_NV = torch.empty(0)

    def fill(self, ids: Sequence[int], positions: Sequence[int]) -> None:
        """Copy the inputs into the tensors that the step reads."""
        rest = self._inputs_3N.shape[1] - len(ids)
        rows = (
            [*ids, *([0] * rest)],
            [*positions, *([0] * rest)],
            [*range(len(ids)), *([self._scratch] * rest)],
        )
        self._inputs_3N.copy_(torch.tensor(rows))

    def run(self, capture: Capture) -> None:
        """Compute the logits: plainly at first, then from the capture."""
        self._num_runs += 1
        if self._num_runs <= RUNS_BEFORE_CAPTURE:
            self._compute()
            return
        if self._again is None:
            self._again = capture(self._compute)
        self._again()

    def _compute(self) -> None:
        ids_N, positions_N, written_N = self._inputs_3N
        self.logits_NV = self._calls.decode_fixed(ids_N[:, None], positions_N[:, None], written_N, length=self._length)


class CudaGraphs:
    """Captures work of one thread as CUDA graphs that share the memory of their results.

    The shared memory is freed with the last of the graphs; capturing further work then needs another object.

    Other threads may use the device during a capture. Unlike torch's context manager, this class neither synchronizes
    nor collects garbage before a capture, because answers are being decoded.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream, self._pool = _capture_stream(device), torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        """Capture the operations that ``work`` launches, without executing them."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        return graph.replay


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream for captures. It has a higher priority than the stream in which versions are loaded."""
    return torch.cuda.Stream(device, priority=-1)


def _rounded(needed: int, first: int, most: int) -> int:
    size = first
    while size < needed:
        size *= 2
    return min(size, most)
