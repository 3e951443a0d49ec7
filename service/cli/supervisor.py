"""Keeps child processes running: starts them, restarts those that die, stops them in order, and leaves no orphans.

If a child dies five times within a minute, or refuses to start (exit code 2), all children are stopped and an operator
must find the cause. This module does not depend on the programs that it runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from service.cli.output import CommandFailed, ExitCode

REFUSED_TO_START = 2
"""Exit code of a process that cannot start with these settings; a restart does not help."""
MAX_DEATHS = 5
DEATHS_WINDOW_SECONDS = 60.0
_PAUSES_SECONDS = (0.0, 0.5, 1.0, 2.0)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildPlan:
    """How to start one child."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    refusal_is_final: bool = True
    """Exit code 2 stops everything. False: the cause may be temporary, such as a lock of a stopping predecessor."""
    stop_seconds: float = 10.0
    """Time to exit after SIGTERM, before SIGKILL."""


class Child:
    """One process that is restarted each time it dies."""

    def __init__(self, plan: ChildPlan, *, say: Callable[[str], None]) -> None:
        self.plan = plan
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._start_at = 0.0

    @property
    def pid(self) -> int | None:
        """Id of the running process; None if no process is running."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process. It dies with the thread that starts it."""
        parent = os.getpid()
        self._process = subprocess.Popen(  # noqa: S603 - our own modules
            self.plan.command,
            env=dict(self.plan.environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops all children in order
            preexec_fn=lambda: die_with(parent, signal.SIGKILL),
        )

    def tend(self) -> None:
        """Restart the process if it died. Raises CommandFailed if it dies too often or refuses to start."""
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self.start()
            return
        code = self._process.poll()
        if code is not None:
            self._process = None
            self._note_death(code, time.monotonic())

    def _note_death(self, code: int, now: float) -> None:
        name, how = self.plan.name, _how_it_ended(code)
        self._deaths.append(now)
        recent = sum(1 for death in self._deaths if now - death < DEATHS_WINDOW_SECONDS)
        if code == REFUSED_TO_START and self.plan.refusal_is_final:
            raise CommandFailed(f"the {name} refused to start, for the reason given above", ExitCode.USAGE)
        if recent == MAX_DEATHS:
            raise CommandFailed(
                f"the {name} died {MAX_DEATHS} times within a minute, last with {how}: everything is stopped. "
                "The data is kept. Fix the cause, which the log above gives, and start again."
            )
        self._start_at = now + _PAUSES_SECONDS[recent - 1]
        self._say(f"the {name} died with {how}: starting it again")

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if the process does not exit in time."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(self.plan.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Supervisor:
    """Several children: started in order, stopped in reverse order."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say
        self._stop_requested = False
        self.children: list[Child] = []

    def add(self, plan: ChildPlan) -> Child:
        """Start another child."""
        child = Child(plan, say=self._say)
        self.children.append(child)
        child.start()
        return child

    @property
    def stop_requested(self) -> bool:
        """Whether SIGINT, SIGTERM or SIGHUP has arrived."""
        return self._stop_requested

    def listen_to_signals(self) -> None:
        """Install handlers for SIGINT, SIGTERM and SIGHUP that stop everything."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._request_stop)

    def tend(self) -> None:
        """Check every child once. Raises CommandFailed if one cannot be kept running."""
        for child in self.children:
            child.tend()

    def stop(self) -> None:
        """Stop all children, the last one first."""
        for child in reversed(self.children):
            child.stop()

    def _request_stop(self, number: int, frame: object) -> None:
        del number, frame
        self._stop_requested = True


def die_with(parent: int, with_signal: signal.Signals) -> None:
    """Ask the kernel to signal this process when its parent dies. Runs in a child before it becomes its program."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
