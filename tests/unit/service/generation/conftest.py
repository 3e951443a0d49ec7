"""Tiny models compute fastest on one thread; a decode loop that is running."""

from collections.abc import Iterator

import pytest
import torch

from service.generation.decoding.loop import DecodeLoop

torch.set_num_threads(1)


@pytest.fixture
def loop() -> Iterator[DecodeLoop]:
    made = DecodeLoop()
    made.start()
    yield made
    made.stop()
