"""Work on a device that neither waits for, nor holds up, what another thread computes there. Knows no models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class SideStream:
    """A second queue of work for a CUDA device; elsewhere it does nothing.

    Copies to the device that are put into the queue of the thread that computes would be done between two of its
    steps, which then take as long as the copies do. One object serves one thread at a time: memory that is taken in a
    queue goes back to that queue, and is found again by whoever works there next.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def work(self) -> Iterator[None]:
        """While open, this thread's work goes into the queue; when it closes, all of it is done."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()
