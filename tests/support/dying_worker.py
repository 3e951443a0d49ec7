"""A worker process that is interrupted at a named method of the ledger; the worker's own code is unchanged.

``python -m tests.support.dying_worker before publication.publish`` kills itself as ``kill -9`` would. Others:
``after transitions.shard_done``, ``before transitions.move:checking`` (the move to that state),
``after transitions.progress:applying`` (the first report of that phase). With a third argument a version is promoted
there instead, once: ``before publication.publish v0``. With ``stop`` the worker is asked to end, as by SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from redis import Redis

from worker.main import main
from worker.protocol.entities import Progress
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger


def die(ledger: Ledger) -> None:
    del ledger
    os.kill(os.getpid(), signal.SIGKILL)


def stop(ledger: Ledger) -> None:
    del ledger
    os.kill(os.getpid(), signal.SIGTERM)


def arm(when: str, move: str, happen: Callable[[Ledger], None]) -> None:
    """Run an action before or after the first such move."""
    method, _, detail = move.partition(":")
    attribute, _, name = method.partition(".")
    part = type(getattr(Ledger(Redis(), Keys("unused")), attribute))
    original: Callable[..., Any] = getattr(part, name)
    left = [happen]

    def watched(self: Any, *arguments: Any, **named: Any) -> Any:
        meant = left and _is_meant(arguments, detail)
        if meant and when == "before":
            left.pop()(Ledger(self._connection.redis, self._connection.keys))
        answer = original(self, *arguments, **named)
        if meant and when == "after":
            left.pop()(Ledger(self._connection.redis, self._connection.keys))
        return answer

    setattr(part, name, watched)


def _is_meant(arguments: tuple[Any, ...], detail: str) -> bool:
    if not detail:
        return True
    return any(
        argument == detail or (isinstance(argument, Progress) and argument.phase == detail) for argument in arguments
    )


def promoting(version: str) -> Callable[[Ledger], None]:
    def promote(ledger: Ledger) -> None:
        ledger.publication.promote(version, author="meanwhile")

    return promote


if __name__ == "__main__":
    when, move, *version = sys.argv[1:]
    arm(when, move, stop if version == ["stop"] else promoting(*version) if version else die)
    sys.exit(main())
