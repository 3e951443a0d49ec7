"""``python -m editing_core.measuring.evaluate FILE``: the scores of a CounterFact file before and after its edits.

Works offline, without service and queue. Prints ES, PS, NS, S, reliability, generation success and perplexity, and can
write the edited model as a Hugging Face folder. Reads no environment: ``errata evaluate`` passes every option.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from editing_core.command_line import (
    MACHINE_OPTIONS,
    SOLVE_OPTIONS,
    TEXT_OPTIONS,
    add_options,
    non_negative,
    positive,
    progress_bar,
    require_writable,
    run_program,
)
from editing_core.covariance.defaults import TEXT_COLUMN
from editing_core.editor.opening import EditorOptions
from editing_core.formats.counterfact import read_counterfact
from editing_core.measuring.campaign import Campaign, CampaignResult, run_campaign

_COLUMNS = (
    ("efficacy_score", "ES"),
    ("paraphrase_score", "PS"),
    ("neighborhood_score", "NS"),
    ("score", "S"),
    ("reliability", "reliability"),
    ("generation_success", "generation success"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0 if it prints the figures, 2 for invalid input."""
    options = _parser().parse_args(arguments)
    return run_program("evaluate", lambda console: _evaluate(options, console))


def _evaluate(options: argparse.Namespace, console: Console) -> int:
    if options.json:
        require_writable(options.json)
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        require_writable(options.save.parent / ".errata-save")
        (options.save.parent / ".errata-save").unlink()
    records = read_counterfact(options.file, limit=options.limit)
    campaign = Campaign(
        model=options.model,
        records=tuple(records),
        options=EditorOptions.read(options),
        data=options.data,
        context_seeds=tuple(options.context_seeds or (0,)),
        device=options.device,
        dtype=options.dtype,
        save=options.save,
    )
    started = time.monotonic()
    with progress_bar(console) as on_progress:
        result = run_campaign(campaign, on_progress=on_progress)
    print_table(result)
    console.print(
        f"{len(records)} record{'s' * (len(records) != 1)} in {time.monotonic() - started:.0f} s", highlight=False
    )
    if options.json:
        options.json.write_text(json.dumps(asdict(result), indent=1))
    return 0


def print_table(result: CampaignResult) -> None:
    """Print the figures, one row per model, and the mean over several context seeds."""
    table = Table(title=result.title)
    table.add_column("")
    for _, title in (*_COLUMNS, ("", "perplexity")):
        table.add_column(title, justify="right")
    for row in (*result.rows, *result.mean_rows()):
        shares = [getattr(row.metrics, name) for name, _ in _COLUMNS]
        table.add_row(row.name, *(_percent(share) for share in shares), f"{row.perplexity:.3f}")
    Console().print(table)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="errata evaluate",
        description="Measure offline what a file of CounterFact records scores before and after its edits: ES, PS, NS, "
        "S, reliability, generation success and perplexity. No service is needed.",
    )
    add = parser.add_argument
    add("file", type=Path, help="CounterFact records: a JSON list, or one record a line")
    add("--model", default="demo-gptj", help="Hugging Face id, folder, demo-gptj or demo-gptneox (default: demo-gptj)")
    add("--limit", type=positive, help="evaluate only this many records, from the start of the file")
    add(
        "--data",
        type=Path,
        default=Path("var/evaluate"),
        help="folder for artefacts and z; with the folder of `errata prepare`, its artefacts are reused "
        "(default: var/evaluate)",
    )
    add(
        "--context-seed",
        type=non_negative,
        action="append",
        dest="context_seeds",
        help="seed of the context templates; repeat it to evaluate several seeds and their mean",
    )
    add_options(parser, *TEXT_OPTIONS, *SOLVE_OPTIONS, *MACHINE_OPTIONS, text_column=TEXT_COLUMN)
    add("--save", type=Path, metavar="FOLDER", help="write the edited model as a Hugging Face folder")
    add_options(parser, "json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
