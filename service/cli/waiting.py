"""Waits for a batch and shows its progress: a bar on a terminal, one line per phase elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.client.client import Client
from service.client.schemas import Batch


def wait_visibly(client: Client, batch_id: str, console: Console) -> Batch:
    """Wait until the batch has a final state, and return it. Shows progress on ``console``."""
    if not console.is_terminal:
        return client.wait_for_batch(batch_id, on_progress=_Phases(console).show)
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("queued", total=None)

        def show(batch: Batch) -> None:
            progress = batch.progress
            if progress is None or progress.total == 0:
                bar.update(task, description=batch.status, total=None)
            else:
                bar.update(task, description=progress.phase, completed=progress.done, total=progress.total)

        return client.wait_for_batch(batch_id, on_progress=show)


class _Phases:
    """Prints a line whenever the status changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen = ""

    def show(self, batch: Batch) -> None:
        if batch.status != self._seen:
            self._seen = batch.status
            self._console.print(f"batch {batch.id}: {batch.status}")
