"""Runs ``errata up`` on a folder and a free port, and stops it with all its children.

The demo and the tests use it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.cli.output import CommandFailed
from service.cli.supervisor import die_with

_READY = re.compile(r"ready at (http://\S+)")
_STOP_SECONDS = 60.0
_NUM_LINES_SHOWN = 25


@dataclass(frozen=True, slots=True)
class RunningErrata:
    """A supervisor process and the address of its service."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    """Output of the supervisor and its children since the last start."""

    def stop(self) -> int:
        """Stop everything in order, as Ctrl-C does, and return the supervisor's exit code."""
        return _stop(self.process)


@contextmanager
def running_errata(
    environment: Mapping[str, str], *, log: Path, ready_seconds: float = 180.0, command: tuple[str, ...] = ()
) -> Iterator[RunningErrata]:
    """Run ``errata up`` with the settings in ``environment``. Raises CommandFailed if it does not become ready."""
    parent = os.getpid()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", "service.cli.main", "up", *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: die_with(parent, signal.SIGTERM),
        )
    try:
        yield RunningErrata(_url_once_ready(process, log, ready_seconds), process, log)
    finally:
        _stop(process)


def _url_once_ready(process: subprocess.Popen[bytes], log: Path, ready_seconds: float) -> str:
    deadline = time.monotonic() + ready_seconds
    while time.monotonic() < deadline:
        found = _READY.search(log.read_text(errors="replace"))
        if found:
            return found[1]
        if process.poll() is not None:
            raise CommandFailed(f"errata up ended with exit code {process.returncode}:\n{_end_of(log)}")
        time.sleep(0.1)
    raise CommandFailed(f"errata up was not ready within {ready_seconds:g} s:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_NUM_LINES_SHOWN:])


def _stop(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # its children die with it
        return process.wait()
