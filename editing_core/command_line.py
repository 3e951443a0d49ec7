"""What the programs of the core share: one table of options, the progress bar, and how errors become an exit code.

The programs read no environment. ``errata`` starts them and passes on what its settings say.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from editing_core.errors import ErrataError, InvalidSettings

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the step, the amount that is done and the total amount."""
WRONG_INPUT = 2
TEXT_OPTIONS = ("corpus", "dataset", "text_column", "statistics", "tokens")
"""Options that choose the statistics of a model."""
SOLVE_OPTIONS = ("layers", "prior_weight", "clamp", "guard_weight")
"""Options that override the constants of the solve."""
MACHINE_OPTIONS = ("device", "dtype")


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if (number := non_negative(text)) == 0:
        raise argparse.ArgumentTypeError("0 is not above 0")
    return number


def non_negative(text: str) -> int:
    """Read a whole number, 0 or above."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


class _Append(argparse.Action):
    """Collects the values of a repeatable option in a tuple."""

    def __call__(self, _parser: object, namespace: argparse.Namespace, values: object, _flag: object = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), values))


_PRESET = "(default: the model's preset)"
_OPTIONS: dict[str, dict[str, Any]] = {
    "corpus": {
        "type": Path,
        "action": _Append,
        "default": (),
        "metavar": "FILE",
        "help": "plain text in UTF-8 for the statistics; repeatable",
    },
    "dataset": {
        "metavar": "NAME[:CONFIG][@SPLIT]",
        "help": "Hugging Face dataset that is streamed as text, or a folder of Parquet, JSON, CSV or text files "
        "(default split: train); instead of --corpus",
    },
    "text_column": {"help": "column of the dataset that holds the text"},
    "statistics": {
        "type": Path,
        "metavar": "FOLDER",
        "help": "folder of .npz second moments as ROME and MEMIT published them, one file per edited layer, as "
        "transformer.h.3.mlp.fc_out_float32_mom2_100000.npz; they replace the covariances of the text",
    },
    "tokens": {
        "type": positive,
        "dest": "num_tokens",
        "help": "number of tokens for the covariances (default: 10 · d_ff, at least 120,000)",
    },
    "context_seed": {"type": non_negative, "help": "seed of the context templates"},
    "layers": {"help": f"edited layers, as 3-8 or 3,4,5 {_PRESET}"},
    "prior_weight": {"type": float, "help": f"λ, the weight of old associations against new ones {_PRESET}"},
    "clamp": {"type": float, "help": f"largest ‖δ‖ as a share of ‖h‖ at the subject's last token {_PRESET}"},
    "guard_weight": {"type": float, "help": f"weight of a guard's key in the solve; an edit's key has 1 {_PRESET}"},
    "device": {"help": "torch device (default: cuda if there is one, else cpu)"},
    "dtype": {
        "choices": ("float32", "bfloat16", "float16"),
        "help": "dtype of the model (default: the checkpoint's on CUDA, float32 on CPU)",
    },
    "num_threads": {"type": positive, "help": "number of torch threads"},
    "json": {"type": Path, "metavar": "FILE", "help": "also write the full result as JSON to this file"},
}


def add_options(parser: argparse.ArgumentParser, *names: str, **defaults: object) -> None:
    """Add options of the table to a parser, in this order; those in ``defaults`` have a default."""
    for name in dict.fromkeys((*names, *defaults)):
        values = dict(_OPTIONS[name])
        if name in defaults:
            values |= {"default": defaults[name], "help": f"{values['help']} (default: {defaults[name]})"}
        parser.add_argument(f"--{name.replace('_', '-')}", **values)


def run_program(name: str, program: Callable[[Console], int]) -> int:
    """Run a program with a console on stderr; an expected error becomes one red line and exit code 2."""
    console = Console(stderr=True)
    try:
        return program(console)
    except (ErrataError, OSError) as error:
        console.print(f"errata {name}: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return WRONG_INPUT


@contextmanager
def progress_bar(console: Console) -> Iterator[OnProgress]:
    """Show a bar with the name of the current step; yields the callback that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), _Speed(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        line = bar.add_task("starting", total=None)

        def on_progress(step: str, done: int, total: int) -> None:
            bar.update(line, description=step, completed=min(done, total), total=total)

        yield on_progress


class _Speed(ProgressColumn):
    """How many tokens, rows or edits are done per second."""

    def render(self, task: Task) -> Text:
        """Empty until the speed is known."""
        return Text("" if not task.speed or task.speed < 1 else f"{task.speed:,.0f}/s")


def require_writable(file: Path) -> None:
    """Raise InvalidSettings before a long computation if its result could not be written."""
    try:
        file.open("a").close()
    except OSError as error:
        raise InvalidSettings(f"{file} cannot be written: {error.strerror}") from None
