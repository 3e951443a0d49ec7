"""What is brought in a thread is there, or its error is; elsewhere than on a GPU a queue does nothing."""

from __future__ import annotations

import threading

import pytest
import torch

from editing_core.models.streams import Bringer, loading_stream

CPU = torch.device("cpu")


def test_a_tensor_that_is_there_is_brought_without_a_copy_and_by_another_thread() -> None:
    tensor, threads = torch.ones(3), []

    def get() -> torch.Tensor:
        threads.append(threading.current_thread())
        return tensor

    with Bringer(CPU) as bringer:
        assert bringer.bring(get).result() is tensor
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()


def test_an_error_comes_with_the_result() -> None:
    def get() -> torch.Tensor:
        raise KeyError("3")

    with Bringer(CPU) as bringer, pytest.raises(KeyError):
        bringer.bring(get).result()


def test_there_is_one_queue_a_device_and_work_in_it_is_done() -> None:
    assert loading_stream(CPU) is loading_stream(torch.device("cpu"))
    with loading_stream(CPU).work():
        found = torch.ones(2) + 1
    assert found.tolist() == [2, 2]
