"""Progress on standard error: a bar on a terminal, else a line at each tenth of a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from editing_core.command_line import progress_bar

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, and how many steps of how many are done."""


@contextmanager
def progress_on(console: Console | None) -> Iterator[Progress]:
    """A function that reports progress while the block runs. ``console`` None: nothing is written."""
    if console is None:
        yield lambda stage, done, total: None
    elif console.is_terminal:
        with progress_bar(console) as on_progress:
            yield on_progress
    else:
        yield _Lines(console)


class _Lines:
    """Writes a line whenever another tenth of a stage is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[str, int] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        state = stage, 10 * done // max(1, total)
        if total and state != self._last:
            self._last = state
            self._console.print(f"{stage}: {done} of {total}", markup=False, highlight=False)


def stage(progress: Progress, name: str) -> Callable[[int, int], None]:
    """The progress of one stage, for functions that know no stages."""
    return lambda done, total: progress(name, done, total)
