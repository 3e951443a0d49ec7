"""Runs work on a device without delaying the work of other threads there. Knows no models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from types import TracebackType

import torch
from torch import Tensor


class SideStream:
    """A second queue of work for a CUDA device; elsewhere it does nothing.

    Copies to the device that are put into the queue of the thread that computes would be done between two of its
    steps, which then take as long as the copies do. Threads that share an object wait for each other's work; share it
    nevertheless: memory that is taken in a queue goes back to it and to no other, and torch has few, and hands them
    out in turn.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def work(self) -> Iterator[None]:
        """Put this thread's work into the queue while the block runs. All of it is done when the block ends."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()


@cache
def loading_stream(device: torch.device) -> SideStream:
    """The one queue of this process in which tensors are brought to the device."""
    return SideStream(device)


class Bringer:
    """Brings tensors to a device in a thread of its own, while this thread goes on; close it at the end."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = loading_stream(device)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="errata-bring")

    def __enter__(self) -> Bringer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def bring(self, get: Callable[[], Tensor]) -> Future[Tensor]:
        """The tensor that ``get`` returns, on the device. A tensor that is there already is not copied."""
        return self._pool.submit(self._bring, get)

    def _bring(self, get: Callable[[], Tensor]) -> Tensor:
        with self._stream.work():
            return get().to(self._device)
