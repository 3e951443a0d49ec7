"""Runs work on a device without delaying the work of other threads on it. Knows no models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from types import TracebackType

import torch
from torch import Tensor


class SideStream:
    """A second stream for a CUDA device. On other devices it does nothing.

    Copies in the stream of the computing thread would run between two of its steps, which then take as long as the
    copies. Threads that share a side stream wait for each other's work. Share it nevertheless: memory allocated in a
    stream can be reused only in that stream, and torch hands out its few streams in turn.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def work(self) -> Iterator[None]:
        """Put this thread's work into the stream while the block runs. All of it is finished when the block ends."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()


@cache
def loading_stream(device: torch.device) -> SideStream:
    """Return the process's only stream for moving tensors to the device."""
    return SideStream(device)


class Bringer:
    """Moves tensors to a device in its own thread, while the calling thread continues. Close it at the end."""

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
        """Return a future of ``get``'s tensor on the device. A tensor that is already there is not copied."""
        return self._pool.submit(self._bring, get)

    def _bring(self, get: Callable[[], Tensor]) -> Tensor:
        with self._stream.work():
            return get().to(self._device)
