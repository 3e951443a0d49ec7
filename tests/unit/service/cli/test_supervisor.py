"""The supervisor over real processes: it restarts what dies, gives up when it is hopeless, and leaves no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.cli.output import CommandFailed, ExitCode
from service.cli.supervisor import MAX_DEATHS, Child, ChildPlan, Supervisor
from tests.support.processes import is_alive
from tests.support.waiting import until
from worker.protocol.settings import child_environment

LIVES_ON = "import time; time.sleep(600)"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor(say=lambda words: None)
    yield made
    made.stop()


def _until(happened: Callable[[], object], supervisor: Supervisor) -> None:
    """Wait while the supervisor looks after its children."""

    def tended() -> object:
        supervisor.tend()
        return happened()

    until(tended)


def _plan(code: str, *, refusal_is_final: bool = True) -> ChildPlan:
    return ChildPlan(
        name="child",
        command=(sys.executable, "-c", code),
        environment=child_environment(),
        refusal_is_final=refusal_is_final,
    )


def _runs(child: Child, other_than: int | None = None) -> bool:
    return child.pid is not None and child.pid != other_than and is_alive(child.pid)


def _kill_and_await_successor(child: Child, supervisor: Supervisor) -> None:
    killed = child.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    _until(lambda: _runs(child, other_than=killed), supervisor)


def test_a_killed_child_is_started_again(supervisor: Supervisor) -> None:
    child = supervisor.add(_plan(LIVES_ON))
    _kill_and_await_successor(child, supervisor)


def test_a_child_killed_five_times_in_a_minute_ends_everything(supervisor: Supervisor) -> None:
    child = supervisor.add(_plan(LIVES_ON))
    for _ in range(MAX_DEATHS - 1):
        _kill_and_await_successor(child, supervisor)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(CommandFailed, match="the child died 5 times within a minute, last with SIGKILL") as raised:
        _until(lambda: False, supervisor)
    assert raised.value.code == ExitCode.FAILED


def test_a_child_that_refuses_to_start_is_not_tried_again(supervisor: Supervisor) -> None:
    supervisor.add(_plan("raise SystemExit(2)"))
    with pytest.raises(CommandFailed, match="refused to start") as raised:
        _until(lambda: False, supervisor)
    assert raised.value.code == ExitCode.USAGE


def test_a_refusal_that_may_pass_is_tried_again(supervisor: Supervisor, tmp_path: Path) -> None:
    once = tmp_path / "once"
    code = f"import pathlib, time; p = pathlib.Path({str(once)!r})\nif not p.exists(): p.touch(); raise SystemExit(2)\n"
    child = supervisor.add(_plan(code + LIVES_ON, refusal_is_final=False))
    first = child.pid
    _until(lambda: once.exists() and _runs(child, other_than=first), supervisor)


def test_children_are_stopped_in_the_opposite_order(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n    with open({order!r}, 'a') as file: file.write({name!r})\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\npathlib.Path({ready!r}).touch()\ntime.sleep(600)\n"
    )
    for name in "abc":
        ready = tmp_path / f"ready-{name}"
        supervisor.add(_plan(code.format(order=str(order), name=name, ready=str(ready))))
        until(ready.exists)
    supervisor.stop()
    assert order.read_text() == "cba"


def test_no_child_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(600)"
    program = (
        "import sys, time\n"
        "from service.cli.supervisor import ChildPlan, Supervisor\n"
        "from worker.protocol.settings import child_environment\n"
        "supervisor = Supervisor(say=print)\n"
        f"command = (sys.executable, '-c', {child!r})\n"
        "supervisor.add(ChildPlan(name='child', command=command, environment=child_environment()))\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        until(lambda: pid_file.exists() and pid_file.read_text())
        process.kill()
    until(lambda: not is_alive(int(pid_file.read_text())))
