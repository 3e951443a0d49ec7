"""The cost of 1 to 1,000 edits in one batch, stage by stage: ``python -m tests.benchmarks.cost_curves``.

Seconds and peak memory of the search for z, of keys and residuals, of the solve and of the checks, on demo-gptj with
edits drawn from its facts. Writes a table and a picture into the folder of ``--out``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from editing_core.demo.models import DemoModel
from editing_core.edits import canonical
from tests.benchmarks.measuring.machine import machine
from tests.benchmarks.measuring.meter import Meter, Reading
from tests.benchmarks.measuring.picture import draw_curves
from tests.benchmarks.measuring.stages import Stages
from tests.benchmarks.workplace import Workplace, of_demo_model

MODEL: DemoModel = "demo-gptj"
STAGES = ("z", "keys", "solve", "checks")
NUM_RUNS = {1: 3, 3: 3, 10: 3, 30: 3, 100: 3, 300: 2, 1000: 1}
"""The best time of a stage counts: what else the machine does makes it slower, never faster."""
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Cost:
    """One stage for one number of edits."""

    seconds: float
    grown_bytes: int


Costs = dict[str, Cost]
"""By stage."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep the model's statistics here, and use them again")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of table and picture")
    parser.add_argument("--most", type=int, default=max(NUM_RUNS), help="leave out more edits than these")
    options = parser.parse_args()
    sizes = [size for size in NUM_RUNS if size <= options.most]
    console = Console()
    with tempfile.TemporaryDirectory(prefix="errata-") as name:
        place = of_demo_model(MODEL, options.folder or Path(name), sizes[-1])
        measure(place, 1)  # what only the first call costs
        curves: dict[int, Costs] = {}
        for size in sizes:
            curves[size] = _best([measure(place, size) for _ in range(NUM_RUNS[size])])
            console.print(f"{size} edits: " + ", ".join(f"{k} {c.seconds:.2f} s" for k, c in curves[size].items()))
    console.print(table(curves))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cost_curves.md").write_text(report(curves, machine(place.loaded.device)))
    draw_curves(
        options.out / "cost_curves.png",
        sizes,
        {
            "seconds": {stage: [curves[size][stage].seconds for size in sizes] for stage in STAGES},
            "peak memory beyond the start, MB": {
                stage: [curves[size][stage].grown_bytes / 1e6 for size in sizes] for stage in STAGES
            },
        },
        title=f"{MODEL}, edits in one batch",
    )
    console.print(f"written: {options.out / 'cost_curves.md'}, {options.out / 'cost_curves.png'}")


def measure(place: Workplace, num_edits: int) -> Costs:
    """All stages for the first ``num_edits`` edits, on the untouched model, with nothing kept from earlier calls."""
    stages, meter = Stages.of(place), Meter(place.loaded.device)
    edits = canonical(place.edits[:num_edits])
    stages.rows(edits)  # tokenised before: it is no part of a stage
    z, checks = Reading(), Reading()
    with meter.piece(z):
        targets = stages.search(edits)
    update, solving = stages.solve(edits, targets, meter)
    with meter.piece(checks):
        stages.check(edits, update)
    readings = dict(zip(STAGES, (z, solving.keys, solving.solve, checks), strict=True))
    return {stage: Cost(reading.seconds, reading.grown_bytes) for stage, reading in readings.items()}


def _best(runs: Sequence[Costs]) -> Costs:
    return {
        stage: Cost(min(run[stage].seconds for run in runs), max(run[stage].grown_bytes for run in runs))
        for stage in STAGES
    }


def _cells(cost: Cost) -> tuple[str, str]:
    return f"{cost.seconds:.3g}" if cost.seconds < 100 else f"{cost.seconds:.0f}", f"{cost.grown_bytes / 1e6:,.0f}"


def table(curves: dict[int, Costs]) -> Table:
    """Seconds and memory of each stage."""
    made = Table(title=f"{MODEL}: edits in one batch", title_justify="left")
    for column in ("edits", *(f"{stage} {unit}" for stage in STAGES for unit in ("s", "MB"))):
        made.add_column(column, justify="right")
    for size, costs in curves.items():
        made.add_row(f"{size:,}", *(cell for stage in STAGES for cell in _cells(costs[stage])))
    return made


def report(curves: dict[int, Costs], measured_on: str) -> str:
    """The same as a document."""
    lines = [
        f"# Cost of edits in one batch, {MODEL}",
        "",
        "`python -m tests.benchmarks.cost_curves`, float32.",
        f"{measured_on}.",
        "",
        "**z** is the search with its early stops; **keys** are keys, residuals and new matrices; **solve** is the",
        "least-squares solve of all layers; **checks** are asked of all edits, as for a store's first batch. MB are",
        "the most that the process's resident memory grew in it. Best time, largest growth of up to three runs.",
        "Facts are drawn without repetition; those about one subject share a search.",
        "",
        "| edits | " + " | ".join(f"{stage}, s | MB" for stage in STAGES) + " | s per edit |",
        "|" + "---:|" * (2 * len(STAGES) + 2),
    ]
    for size, costs in curves.items():
        cells = [cell for stage in STAGES for cell in _cells(costs[stage])]
        total = sum(cost.seconds for cost in costs.values())
        lines.append(f"| {size:,} | " + " | ".join(cells) + f" | {total / size:.3g} |")
    return "\n".join([*lines, "", "![The same as curves](cost_curves.png)", ""])


if __name__ == "__main__":
    main()
