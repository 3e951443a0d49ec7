"""``python -m editing_core.covariance.command MODEL``: computes the artefacts of a model before the first start.

The text comes from files or a dataset. The command prints a progress bar and a summary. It reads no environment
variables; ``errata prepare`` does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from editing_core.command_line import MACHINE_OPTIONS, TEXT_OPTIONS, add_options, progress_bar, run_program
from editing_core.covariance.defaults import TEXT_COLUMN, corpus_for
from editing_core.covariance.prepare import PrepareOptions, asked_tokens, describe, prepare
from editing_core.memit.config import SolveOverrides, configure, preset
from editing_core.models.load import load_model
from editing_core.versions.layout import StoreLayout

_DESCRIPTION = (
    "Compute a model's artefacts once: covariances from text or from published statistics, probes and held-out "
    "perplexity from text. An interrupted run continues where it stopped. Start the service and the worker with the "
    "same text, statistics, tokens and seed (ERRATA_TOKENS, ERRATA_CONTEXT_SEED)."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0 if the artefacts exist at the end, 2 for invalid input."""
    options = _parser().parse_args(arguments)
    return run_program("prepare", lambda console: _prepare(options, console))


def _prepare(options: argparse.Namespace, console: Console) -> int:
    corpus = corpus_for(options.model, options.corpus, dataset=options.dataset, text_column=options.text_column)
    console.print(f"loading {options.model}", highlight=False)
    loaded = load_model(options.model, device=options.device, dtype=options.dtype)
    num_layers = loaded.family.num_layers(loaded.model)
    base = preset(loaded.family.model_type, num_layers=num_layers, hidden_size=loaded.hidden_size)
    wanted = PrepareOptions(
        layers=configure(base, num_layers=num_layers, overrides=SolveOverrides.read(options)).layers,
        num_tokens=options.num_tokens,
        context_seed=options.context_seed,
        statistics=options.statistics,
    )
    folder = StoreLayout(options.data).artefacts_dir
    with progress_bar(console) as on_progress:
        artefacts = prepare(loaded, corpus, wanted, root=folder, on_progress=on_progress)
    for name, value in describe(artefacts).items():
        console.print(f"{name}: {value}", markup=False, highlight=False)
    asked = asked_tokens(loaded, wanted)
    if asked is not None and artefacts.num_tokens < asked:
        console.print(f"the corpus has no more: {asked} tokens were asked for", markup=False, highlight=False)
    console.print(f"kept in {folder}", markup=False, highlight=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="errata prepare", description=_DESCRIPTION)
    parser.add_argument("model", help="Hugging Face id, folder, demo-gptj or demo-gptneox")
    parser.add_argument("--data", type=Path, default=Path("var"), help="folder of the store (default: var)")
    add_options(parser, "layers", *MACHINE_OPTIONS, *TEXT_OPTIONS, text_column=TEXT_COLUMN, context_seed=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
