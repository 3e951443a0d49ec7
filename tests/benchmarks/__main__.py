"""``make bench``: the figures of docs/benchmarks.md, measured here; exits with code 1 if one misses its target."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from tests.benchmarks.core import measure_core
from tests.benchmarks.hundred_edits import Run, measure

MODELS = ("demo-gptj", "demo-gptneox")
FLOORS = {"reliability": 0.90, "ES": 0.95, "PS": 0.88, "NS": 0.95}
MAX_PERPLEXITY_RISE = 0.10
MAX_SECONDS = 60.0
NUM_RUNS = 3
"""Runs of the core; the median counts."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--model", choices=MODELS, action="append", help="default: both")
    parser.add_argument("--seed", type=int, action="append", help="default: 0, 1, 2")
    parser.add_argument("--folder", type=Path, help="time the core on the model of this folder and not on demo-gptj")
    options = parser.parse_args()
    seeds = tuple(options.seed or (0, 1, 2))
    reached = [_bench(model, seeds) for model in options.model or MODELS]
    reached.append(measure_core(Console(), folder=options.folder, num_runs=NUM_RUNS))
    return 0 if all(reached) else 1


def _bench(model: str, seeds: tuple[int, ...]) -> bool:
    console = Console()
    columns = ("seed", *FLOORS, "generation success", "perplexity", "rise", "POST to applied")
    table = Table(*columns, title=f"{model}: 100 edits in one batch", title_justify="left")
    runs: list[Run] = []
    for run in measure(model, seeds):  # type: ignore[arg-type]
        runs.append(run)
        table.add_row(str(run.seed), *_cells(_figures(run)))
        console.print(f"{model}, seed {run.seed}: applied after {run.seconds:.1f} s")
    means = {name: fmean(_figures(run)[name] for run in runs) for name in _figures(runs[0])}
    table.add_row("mean", *_cells(means), style="bold")
    console.print(table)
    console.print(
        f"held-out text: {runs[0].num_heldout_tokens} tokens, perplexity {runs[0].perplexity_before:.3f} before"
    )
    missed = [f"{name} {means[name]:.3f} < {floor}" for name, floor in FLOORS.items() if means[name] < floor]
    missed += [f"perplexity {means['rise']:+.1%}"] if means["rise"] > MAX_PERPLEXITY_RISE else []
    missed += [f"{run.seconds:.0f} s for seed {run.seed}" for run in runs if run.seconds > MAX_SECONDS]
    console.print(f"{model}: " + ("all figures reached" if not missed else f"not reached: {'; '.join(missed)}"))
    return not missed


def _figures(run: Run) -> dict[str, float]:
    metrics = run.metrics
    shares = (
        metrics.reliability,
        metrics.efficacy_score,
        metrics.paraphrase_score,
        metrics.neighborhood_score,
        metrics.generation_success,
    )
    assert None not in shares
    named = dict(zip((*FLOORS, "generation success"), map(float, shares), strict=True))  # type: ignore[arg-type]
    return named | {"perplexity": run.perplexity_after, "rise": run.perplexity_rise, "seconds": run.seconds}


def _cells(figures: dict[str, float]) -> list[str]:
    shares = [f"{100 * figures[name]:.1f} %" for name in (*FLOORS, "generation success")]
    return [*shares, f"{figures['perplexity']:.3f}", f"{figures['rise']:+.1%}", f"{figures['seconds']:.1f} s"]


if __name__ == "__main__":
    sys.exit(main())
