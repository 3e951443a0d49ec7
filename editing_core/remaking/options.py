"""The options that the programs ``rebuild`` and ``migrate`` share, and how they run. Knows no environment."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from editing_core.checks.limits import CheckLimits
from editing_core.covariance.command import non_negative, positive, progress_bar
from editing_core.covariance.defaults import TEXT_COLUMN
from editing_core.errors import ErrataError, InvalidSettings
from editing_core.remaking.remake import Outcome, remake
from editing_core.remaking.reports import as_json
from editing_core.remaking.task import Task

_LIMITS = {
    "min_reliability": 0.7,
    "min_specificity": 0.8,
    "min_earlier_kept": 0.9,
    "max_drift": 0.5,
    "max_perplexity_rise": 0.1,
    "max_delta_norm": 15.0,
    "max_delta_per_edit": 0.72,
}
_WIDTH_OF_A_FILE = 140


def add_options(parser: argparse.ArgumentParser) -> None:
    """Put in what both programs take."""
    add = parser.add_argument
    add("--from", dest="source", type=Path, required=True, metavar="DATA", help="folder of the store that is read")
    add("--out", type=Path, required=True, metavar="FOLDER", help="empty folder that becomes the new store")
    add("--version", help="version to make anew, as v12 (default: the live one, by the folder's HEAD)")
    add("--layers", help="edited layers, as 3-8 or 3,4,5")
    add("--prior-weight", type=float, help="λ")
    add("--clamp", type=float, help="clamp factor")
    add("--guard-weight", type=float, help="weight of a held key in the solve")
    add("--corpus", type=Path, action="append", help="plain text for statistics that are not there; repeatable")
    add("--dataset", metavar="NAME[:CONFIG][@SPLIT]", help="Hugging Face dataset as text instead, or a folder of one")
    add("--text-column", default=TEXT_COLUMN, help=f"its column with the text (default: {TEXT_COLUMN})")
    add("--statistics", type=Path, metavar="FOLDER", help="published .npz second moments, one file an edited layer")
    add("--tokens", type=positive, help="tokens for the covariances")
    add("--context-seed", type=non_negative, help="seed of the contexts")
    add("--device", help="torch device (default: cuda if there, else cpu)")
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="dtype of the model")
    add("--num-threads", type=positive, help="torch threads")
    add("--limits", type=json.loads, default={}, metavar="JSON", help="limits of the checks that are not the default")
    add("--even-if-checks-fail", action="store_true", help="write the version although its checks fail")
    add("--json", type=Path, metavar="FILE", help="write everything to a file, every edit's report too")


def task_of(options: argparse.Namespace, *, model: str | None, with_targets: bool, new_statistics: bool) -> Task:
    """The order that the options give; raises InvalidSettings."""
    try:
        limits = CheckLimits(**_LIMITS | options.limits)
    except TypeError as error:
        raise InvalidSettings(f"--limits: {error}") from None
    return Task(
        source=options.source,
        out=options.out,
        version=options.version,
        model=model,
        with_targets=with_targets,
        layers=options.layers,
        prior_weight=options.prior_weight,
        clamp=options.clamp,
        guard_weight=options.guard_weight,
        corpus=tuple(options.corpus or ()),
        dataset=options.dataset,
        text_column=options.text_column,
        statistics=options.statistics,
        new_statistics=new_statistics,
        tokens=options.tokens,
        context_seed=options.context_seed,
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
    tell: Callable[[Outcome, Console], None],
    to: Path | None,
) -> int:
    """Do it with a progress bar and tell of it; 0 written, 1 not written since the checks failed, 2 for wrong input."""
    console = Console(stderr=True)
    try:
        if to is not None:
            _require_writable(to)
        outcome = _remake(make_task(), console, same_model=same_model)
        width = None if sys.stdout.isatty() else _WIDTH_OF_A_FILE
        tell(outcome, Console(width=width, markup=False, highlight=False, emoji=False))
        if to is not None:
            to.write_text(json.dumps(as_json(outcome), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except (ErrataError, OSError) as error:
        console.print(f"{name}: {error}", style="red", markup=False, highlight=False)
        return 2
    return 0 if outcome.is_written else 1


def _require_writable(file: Path) -> None:
    """Raise InvalidSettings now and not after the whole computation."""
    try:
        file.open("a").close()
    except OSError as error:
        raise InvalidSettings(f"{file} cannot be written: {error.strerror}") from None


def _remake(task: Task, console: Console, *, same_model: bool) -> Outcome:
    with progress_bar(console) as bar:
        line = bar.add_task("starting", total=None)

        def on_progress(what: str, done: int, total: int) -> None:
            bar.update(line, description=what, completed=min(done, total), total=total)

        return remake(task, same_model=same_model, on_progress=on_progress)


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with what both programs take put in."""
    add_options(parser)
    return parser.parse_args(arguments)
