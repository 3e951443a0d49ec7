"""``python -m editing_core.measuring.evaluate FILE``: the scores of a CounterFact file before and after its edits.

Offline: no service, no queue. Prints ES, PS, NS, S, reliability, generation success and perplexity, and can
write the edited model as a Hugging Face folder. Knows no environment: ``errata evaluate`` gives every option.
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

from editing_core.covariance.command import non_negative, positive, progress_bar
from editing_core.covariance.defaults import TEXT_COLUMN
from editing_core.editor.opening import EditorOptions
from editing_core.errors import ErrataError, InvalidSettings
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
    """Run the command; 0 when the figures are printed, 2 for input that makes no sense."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        _evaluate(options, console)
    except (ErrataError, OSError) as error:
        console.print(f"errata evaluate: {error}", style="red", markup=False, highlight=False)
        return 2
    return 0


def _evaluate(options: argparse.Namespace, console: Console) -> None:
    if options.json:
        _require_writable(options.json)
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        _require_writable(options.save.parent / ".errata-save")
        (options.save.parent / ".errata-save").unlink()
    records = read_counterfact(options.file, limit=options.limit)
    campaign = Campaign(
        model=options.model,
        records=tuple(records),
        options=EditorOptions(
            corpus=tuple(options.corpus or ()),
            dataset=options.dataset,
            text_column=options.text_column,
            statistics=options.statistics,
            num_tokens=options.tokens,
            layers=options.layers,
            prior_weight=options.prior_weight,
            clamp=options.clamp,
        ),
        data=options.data,
        context_seeds=tuple(options.context_seed or (0,)),
        device=options.device,
        dtype=options.dtype,
        save=options.save,
    )
    started = time.monotonic()
    with progress_bar(console) as bar:
        task = bar.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=min(done, total), total=total)

        result = run_campaign(campaign, on_progress=tell)
    print_table(result)
    console.print(
        f"{len(records)} record{'s' * (len(records) != 1)} in {time.monotonic() - started:.0f} s", highlight=False
    )
    if options.json:
        options.json.write_text(json.dumps(asdict(result), indent=1))


def _require_writable(file: Path) -> None:
    """Raise InvalidSettings now and not after the whole computation."""
    try:
        file.open("a").close()
    except OSError as error:
        raise InvalidSettings(f"{file} cannot be written: {error.strerror}") from None


def print_table(result: CampaignResult) -> None:
    """Print the figures, a row for each model, and the mean over several context seeds."""
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
    add("--limit", type=positive, help="only the first so many records")
    add("--corpus", type=Path, action="append", help="plain text in UTF-8; once for each file")
    add("--dataset", metavar="NAME[:CONFIG][@SPLIT]", help="Hugging Face dataset as text instead, or a folder of one")
    add("--text-column", default=TEXT_COLUMN, help=f"its column with the text (default: {TEXT_COLUMN})")
    add("--statistics", type=Path, metavar="FOLDER", help="published .npz second moments, one file an edited layer")
    add(
        "--data",
        type=Path,
        default=Path("var/evaluate"),
        help="folder for artefacts and z; that of `errata prepare` saves making them again (default: var/evaluate)",
    )
    add("--layers", help="edited layers, as 3-8 or 3,4,5 (default: the model's preset)")
    add("--prior-weight", type=float, help="λ (default: the model's preset)")
    add("--clamp", type=float, help="clamp factor (default: the model's preset)")
    add(
        "--context-seed",
        type=non_negative,
        action="append",
        help="seed of the contexts; repeat it for several and their mean",
    )
    add("--tokens", type=positive, help="tokens for the covariances")
    add("--device", help="torch device (default: cuda if there, else cpu)")
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the checkpoint's on CUDA, float32 on CPU")
    add("--save", type=Path, metavar="FOLDER", help="write the edited model as a Hugging Face folder")
    add("--json", type=Path, metavar="FILE", help="write all figures to a file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
