"""A worker process to which something happens at a named move of the ledger; the worker itself knows nothing of it.

``python -m tests.support.dying_worker before publish`` kills itself as ``kill -9`` would; ``after shard_done``,
``before move:checking`` (the move to that state), ``after progress:applying`` (the first report of that phase).
With a third argument a version is promoted there instead, once: ``before publish v0``; with ``stop`` the worker is
asked to end, as by SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from worker.main import main
from worker.protocol.entities import Progress
from worker.protocol.ledger.ledger import Ledger


def die(ledger: Ledger) -> None:
    del ledger
    os.kill(os.getpid(), signal.SIGKILL)


def stop(ledger: Ledger) -> None:
    del ledger
    os.kill(os.getpid(), signal.SIGTERM)


def arm(when: str, move: str, happen: Callable[[Ledger], None]) -> None:
    """Let something happen before or after the first such move."""
    name, _, detail = move.partition(":")
    original: Callable[..., Any] = getattr(Ledger, name)
    left = [happen]

    def watched(ledger: Ledger, *arguments: Any, **named: Any) -> Any:
        meant = left and _is_meant(arguments, detail)
        if meant and when == "before":
            left.pop()(ledger)
        answer = original(ledger, *arguments, **named)
        if meant and when == "after":
            left.pop()(ledger)
        return answer

    setattr(Ledger, name, watched)


def _is_meant(arguments: tuple[Any, ...], detail: str) -> bool:
    if not detail:
        return True
    return any(
        argument == detail or (isinstance(argument, Progress) and argument.phase == detail) for argument in arguments
    )


def promoting(version: str) -> Callable[[Ledger], None]:
    def promote(ledger: Ledger) -> None:
        ledger.promote(version, author="meanwhile")

    return promote


if __name__ == "__main__":
    when, move, *version = sys.argv[1:]
    arm(when, move, stop if version == ["stop"] else promoting(*version) if version else die)
    sys.exit(main())
