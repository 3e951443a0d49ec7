"""The options that ``rebuild`` and ``migrate`` share, and the run of both programs. Does not read the environment."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from editing_core.checks.limits import CheckLimits
from editing_core.command_line import (
    MACHINE_OPTIONS,
    SOLVE_OPTIONS,
    TEXT_OPTIONS,
    add_options,
    progress_bar,
    require_writable,
    run_program,
)
from editing_core.covariance.defaults import TEXT_COLUMN
from editing_core.editor.opening import EditorOptions
from editing_core.errors import InvalidSettings
from editing_core.remaking.remake import Outcome, remake
from editing_core.remaking.reports import as_json
from editing_core.remaking.task import Task

_WIDTH_OF_A_FILE = 140


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Add the options of both programs to the parser, and parse the arguments."""
    add = parser.add_argument
    add("--from", dest="source", type=Path, required=True, metavar="DATA", help="folder of the store to read")
    add("--out", type=Path, required=True, metavar="FOLDER", help="empty folder that becomes the new store")
    add("--version", help="version to solve again, as v12 (default: the live version, by the folder's HEAD)")
    add_options(parser, *SOLVE_OPTIONS, *TEXT_OPTIONS, "context_seed", text_column=TEXT_COLUMN)
    add_options(parser, *MACHINE_OPTIONS, "num_threads")
    add("--limits", type=json.loads, default={}, metavar="JSON", help="limits of the checks that replace the defaults")
    add("--even-if-checks-fail", action="store_true", help="write the version even if its checks fail")
    add_options(parser, "json")
    return parser.parse_args(arguments)


def task_of(options: argparse.Namespace, *, model: str | None, with_targets: bool, new_statistics: bool) -> Task:
    """Return the task that the options describe. Raises InvalidSettings."""
    try:
        limits = CheckLimits(**options.limits)
    except TypeError as error:
        raise InvalidSettings(f"--limits: {error}") from None
    return Task(
        source=options.source,
        out=options.out,
        version=options.version,
        model=model,
        with_targets=with_targets,
        options=EditorOptions.read(options),
        new_statistics=new_statistics,
        device=options.device,
        dtype=options.dtype,
        num_threads=options.num_threads,
        limits=limits,
        even_if_failed=options.even_if_checks_fail,
    )


def run(
    make_task: Callable[[], Task],
    *,
    name: str,
    same_model: bool,
    report: Callable[[Outcome, Console], None],
    to: Path | None,
) -> int:
    """Run the task with a progress bar and report the result.

    Returns 0 if the version is written, 1 if its checks failed and it is not written, 2 for invalid input.
    """

    def program(console: Console) -> int:
        if to is not None:
            require_writable(to)
        task = make_task()
        with progress_bar(console) as on_progress:
            outcome = remake(task, same_model=same_model, on_progress=on_progress)
        width = None if sys.stdout.isatty() else _WIDTH_OF_A_FILE
        report(outcome, Console(width=width, markup=False, highlight=False, emoji=False))
        if to is not None:
            to.write_text(json.dumps(as_json(outcome), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return 0 if outcome.is_written else 1

    return run_program(name, program)
