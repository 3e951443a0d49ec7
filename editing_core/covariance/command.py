"""``python -m editing_core.covariance.command MODEL``: makes the artefacts of a model before the first start.

Text may be files or a dataset. Prints a progress bar and an account. Knows no environment: that is ``errata prepare``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from editing_core.covariance.defaults import TEXT_COLUMN, corpus_for
from editing_core.covariance.prepare import PrepareOptions, asked_tokens, describe, prepare
from editing_core.errors import ErrataError
from editing_core.memit.config import SolveOverrides, configure, preset
from editing_core.models.load import load_model
from editing_core.versions.layout import StoreLayout

_DESCRIPTION = (
    "Make a model's artefacts, once: covariances from text or from published statistics, probes and held-out"
    " perplexity from text. Work that was stopped is taken up where it was. Give what is started later the same text,"
    " statistics, tokens and seed."
)
_DATASET_HELP = (
    "Hugging Face dataset that is streamed as text, or a folder of Parquet, JSON, CSV or text files (default split:"
    " train); instead of --corpus"
)
_STATISTICS_HELP = (
    "folder of .npz second moments as ROME and MEMIT published them, one file a layer, as"
    " transformer.h.3.mlp.fc_out_float32_mom2_100000.npz: read instead of making covariances from the text"
)
_TOKENS_HELP = "tokens for the covariances, as ERRATA_TOKENS of what is started (default: 10 · d_ff, at least 120,000)"
_SEED_HELP = "seed of the context templates, as ERRATA_CONTEXT_SEED of what is started (default: 0)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the artefacts are there, 2 for input that makes no sense."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        _prepare(options, console)
    except (ErrataError, OSError) as error:
        console.print(f"errata prepare: {error}", style="red", markup=False, highlight=False)
        return 2
    return 0


def _prepare(options: argparse.Namespace, console: Console) -> None:
    corpus = corpus_for(options.model, options.corpus, dataset=options.dataset, text_column=options.text_column)
    console.print(f"loading {options.model}", highlight=False)
    loaded = load_model(options.model, device=options.device, dtype=options.dtype)
    num_layers = loaded.family.num_layers(loaded.model)
    base = preset(loaded.family.model_type, num_layers=num_layers, hidden_size=loaded.hidden_size)
    config = configure(base, num_layers=num_layers, overrides=SolveOverrides.read(options))
    wanted = PrepareOptions(
        layers=config.layers,
        num_tokens=options.tokens,
        context_seed=options.context_seed,
        statistics=options.statistics,
    )
    with progress_bar(console) as bar:
        task = bar.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=min(done, total), total=total)

        artefacts = prepare(loaded, corpus, wanted, root=StoreLayout(options.data).artefacts_dir, on_progress=tell)
    for name, value in describe(artefacts).items():
        console.print(f"{name}: {value}", markup=False, highlight=False)
    asked = asked_tokens(loaded, wanted)
    if asked is not None and artefacts.num_tokens < asked:
        console.print(f"the corpus has no more: {asked} tokens were asked for", markup=False, highlight=False)
    console.print(f"kept in {StoreLayout(options.data).artefacts_dir}", markup=False, highlight=False)


def progress_bar(console: Console) -> Progress:
    """A bar that names what is being made."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), _Speed(), TimeRemainingColumn())
    return Progress(*columns, console=console)


class _Speed(ProgressColumn):
    """How many a second: tokens, rows or edits, whatever is counted."""

    def render(self, task: Task) -> Text:
        """Empty until it is known."""
        return Text("" if not task.speed or task.speed < 1 else f"{task.speed:,.0f}/s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="errata prepare", description=_DESCRIPTION)
    parser.add_argument("model", help="Hugging Face id, folder, demo-gptj or demo-gptneox")
    parser.add_argument("--corpus", type=Path, action="append", help="plain text in UTF-8; once for each file")
    parser.add_argument("--dataset", metavar="NAME[:CONFIG][@SPLIT]", help=_DATASET_HELP)
    parser.add_argument("--text-column", default=TEXT_COLUMN, help=f"its column with the text (default: {TEXT_COLUMN})")
    parser.add_argument("--statistics", type=Path, metavar="FOLDER", help=_STATISTICS_HELP)
    parser.add_argument("--data", type=Path, default=Path("var"), help="folder of the store (default: var)")
    parser.add_argument("--layers", help="edited layers, as 3-8 or 3,4,5 (default: the model's preset)")
    parser.add_argument("--tokens", type=positive, help=_TOKENS_HELP)
    parser.add_argument("--context-seed", type=non_negative, default=0, help=_SEED_HELP)
    parser.add_argument("--device", help="torch device (default: cuda if there, else cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the checkpoint's on CUDA")
    return parser


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


if __name__ == "__main__":
    sys.exit(main())
