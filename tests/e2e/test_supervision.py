"""``errata up`` under fire: processes are killed, the work goes on, nothing accepted is lost, nothing stays behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.cli.demo.corrections import corrections
from service.cli.demo.running import RunningErrata
from service.client.client import Client
from service.client.errors import ErrataClientError
from tests.support.errata_process import errata_up
from tests.support.processes import is_alive
from tests.support.waiting import until

PATIENCE_SECONDS = 90.0
HAMLET, NOTRE_DAME, MESSI, *_ = corrections()

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def running(folder: Path) -> Iterator[RunningErrata]:
    with errata_up(folder) as running:
        yield running


def _children(running: RunningErrata) -> list[psutil.Process]:
    children = psutil.Process(running.process.pid).children(recursive=True)
    return [child for child in children if is_alive(child.pid)]


def _child(running: RunningErrata, word: str) -> psutil.Process:
    (found,) = [child for child in _children(running) if any(word in part for part in child.cmdline())]
    return found


def _kill(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)


def _answers(client: Client) -> bool:
    try:
        return client.readiness().ready
    except ErrataClientError:
        return False


def test_a_batch_is_applied_once_though_every_process_is_killed(running: RunningErrata) -> None:
    with Client(running.url, timeout_seconds=60.0) as client:
        batch = client.submit_edits([HAMLET.as_edit(), MESSI.as_edit()])
        for word in ("worker.main", "redis", "service.serve"):
            killed = _child(running, word)
            _kill(killed)
            until(lambda gone=killed: not is_alive(gone.pid))  # type: ignore[misc]
            until(lambda: _answers(client))
        ended = client.wait_for_batch(batch.id, timeout_seconds=PATIENCE_SECONDS)
        assert (ended.status, ended.error) == ("applied", None)
        assert [edit.status for edit in client.edits(batch=batch.id)] == ["live", "live"]
        assert len(list(client.edits(status="live"))) == 2
        answer = client.generate(MESSI.prompt, min_version=ended.version, max_new_tokens=4)
        assert answer.text.strip().startswith(MESSI.new_object)


def test_killing_the_supervisor_leaves_no_process_and_no_loss(running: RunningErrata, folder: Path) -> None:
    with Client(running.url, timeout_seconds=60.0) as client:
        batch = client.wait_for_batch(client.submit_edits([NOTRE_DAME.as_edit()]).id)
        assert batch.status == "applied"
        version = batch.version
    children = _children(running)
    assert len(children) >= 3
    running.process.kill()
    running.process.wait()
    until(lambda: not any(is_alive(child.pid) for child in children))
    with errata_up(folder) as again, Client(again.url, timeout_seconds=60.0) as client:
        answer = client.generate(NOTRE_DAME.prompt, max_new_tokens=4)
        assert (answer.version, answer.text.strip().startswith(NOTRE_DAME.new_object)) == (version, True)


def test_sigterm_stops_all_and_is_success(running: RunningErrata) -> None:
    children = _children(running)
    assert running.stop() == 0
    assert not any(is_alive(child.pid) for child in children)
    assert "is kept" in running.log.read_text().splitlines()[-1]
