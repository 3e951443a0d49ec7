"""What GPT-J 6B and 10,000 edits would cost: ``python -m tests.benchmarks.extrapolate``.

Operations and bytes are counted in closed form (``arithmetic``). The same run checks the closed form against torch's
own counter on demo-gptj, and ends with exit code 1 if they differ by more than 3 %. Then it measures this machine's
matrix rates and bandwidth, compares the stages on demo-gptj with their limits, and extrapolates.

A limit is a time that no run can beat at these rates. An estimate is the limit divided by a share: here by the share of
its limit that the stage reaches on demo-gptj, on another device (``--rate``, ``--bandwidth``) by ``--share``. No
GPT-J and no other device is run: estimates are not measurements.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from editing_core.asking.probes import ProbeSet
from editing_core.edits import AcceptedEdit, canonical
from editing_core.memit.config import preset
from editing_core.memit.search.memory import CPU_ROWS, CUDA_ROWS
from tests.benchmarks.arithmetic import Work, prepare_work, solve_work, view_work
from tests.benchmarks.measuring.counting import check_closed_form
from tests.benchmarks.measuring.machine import machine
from tests.benchmarks.measuring.meter import Meter, Reading
from tests.benchmarks.measuring.random_edits import RandomEdits, RowShape
from tests.benchmarks.measuring.random_models import random_model
from tests.benchmarks.measuring.rates import Rates, measure_rates
from tests.benchmarks.measuring.stages import BATCH_TOKENS, WINDOW_TOKENS, Stages, feed_moments
from tests.benchmarks.workplace import of_demo_model

TOLERANCE = 0.03
NUM_MEASURED = 64
MEASURED_TOKENS = 2 * BATCH_TOKENS
NUM_STEPS = 25
WIDTH = 110
"""Of what is printed."""
SAMPLE = 500
"""Edits whose checks are counted; the checks of more edits are extrapolated linearly."""
NUM_PROBES, PROBE_TOKENS, NUM_HELDOUT = 200, 18, 20_000
WIDE_SHARE = 1 / 15
"""Of the matrix rate, in float32 and float64, where none is given: about an H100's or H200's data sheet."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage on one model."""

    name: str
    work: Work
    seconds: float | None = None
    """None if it is not run."""


def main() -> int:
    """Check, measure, extrapolate; returns the exit code."""
    options = _options()
    console = Console(width=WIDTH)
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory(prefix="errata-") as name:
        place = of_demo_model("demo-gptj", options.folder or Path(name), NUM_MEASURED)
    demo = Stages.of(place).without_early_stop(NUM_STEPS)
    edits = canonical(place.edits)
    ratios = check_closed_form(demo, edits)
    for stage, ratio in ratios.items():
        console.print(f"{stage}: closed form / torch's counter = {ratio:.4f}")
    if any(abs(ratio - 1) > TOLERANCE for ratio in ratios.values()):
        console.print(f"the closed form is off by more than {TOLERANCE:.0%}: no extrapolation from it")
        return 1
    here = measure_rates(cpu, torch.float32)
    console.print(f"{machine(cpu)}: {here}")
    measured = list(_measured(demo, edits))
    console.print(_compared(measured, here))
    shares = {stage.name: here.limit_seconds(stage.work) / (stage.seconds or 1.0) for stage in measured}
    mine = _large(torch.float32, room=CPU_ROWS, num_edits=options.num_edits)
    title = f"GPT-J 6B, {options.num_edits:,} edits ({RowShape()}), this machine in float32: nothing here was run"
    console.print(_extrapolated(mine, here, shares, title=title))
    if options.rate and options.bandwidth:
        wide = 1e12 * (options.wide_rate or WIDE_SHARE * options.rate)
        there = Rates(model=1e12 * options.rate, single=wide, double=wide, bandwidth=1e9 * options.bandwidth)
        theirs = _large(torch.bfloat16, room=CUDA_ROWS, num_edits=options.num_edits)
        title = f"GPT-J 6B, {options.num_edits:,} edits, bfloat16, a device of {there}: nothing here was run"
        console.print(_extrapolated(theirs, there, dict.fromkeys(shares, options.share), title=title))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-edits", type=int, default=10_000)
    parser.add_argument("--rate", type=float, help="matrix rate of another device in bfloat16, TFLOPS")
    parser.add_argument("--bandwidth", type=float, help="its memory's, GB/s")
    parser.add_argument("--wide-rate", type=float, help="its rate in float32 and float64, TFLOPS (default: rate / 15)")
    parser.add_argument("--share", type=float, default=0.4, help="share of its limits that is reached (default: 0.4)")
    parser.add_argument("--folder", type=Path, help="keep the demo model's statistics here, and use them again")
    options = parser.parse_args()
    if (options.rate is None) != (options.bandwidth is None):
        parser.error("--rate and --bandwidth belong together")
    return options


def _measured(demo: Stages, edits: Sequence[AcceptedEdit]) -> Iterator[Stage]:
    """The stages of some edits of the demo model on this machine."""
    meter, shape = Meter(torch.device("cpu")), demo.shape
    z, prepare, checks = Reading(), Reading(), Reading()
    demo.rows(edits)
    demo.search(edits[:2])
    with meter.piece(z):
        targets = demo.search(edits)
    yield Stage("z", demo.search_work(edits), z.seconds)
    with meter.piece(prepare):
        feed_moments(demo.loaded, demo.config.layers, num_tokens=MEASURED_TOKENS)
    window = min(WINDOW_TOKENS, demo.loaded.max_positions)
    work = prepare_work(shape, num_tokens=MEASURED_TOKENS, window=window, layers=demo.config.layers)
    yield Stage("prepare", work, prepare.seconds)
    update, solving = demo.solve(edits, targets, meter)
    yield Stage("keys", demo.sweep_work(edits), solving.keys.seconds)
    work = solve_work(shape, num_edits=len(edits), num_layers=len(demo.config.layers))
    yield Stage("solve", work, solving.solve.seconds)
    with meter.piece(checks):
        demo.check(edits, update)
    yield Stage("checks", demo.check_work(edits), checks.seconds)


def _large(dtype: torch.dtype, *, room: int, num_edits: int) -> list[Stage]:
    """The stages of GPT-J 6B; what is counted of it needs no weights."""
    loaded = random_model("gptj", device="meta", dtype=dtype)
    words = RandomEdits(loaded.vocabulary_size, RowShape())
    config = preset("gptj", num_layers=28, hidden_size=loaded.hidden_size)
    probes = tuple(tuple(words.token_ids(PROBE_TOKENS)) for _ in range(NUM_PROBES))
    stages = Stages(
        loaded=loaded,
        config=config,
        contexts=words.contexts,
        covariances={},
        probes=ProbeSet(probes, (), torch.empty(0)),
        heldout_ids=words.token_ids(NUM_HELDOUT),
        heldout_perplexity=1.0,
    ).without_early_stop(NUM_STEPS)
    edits = canonical(words.draw(num_edits))
    num_layers, shape, sample = len(config.layers), stages.shape, edits[:SAMPLE]
    checks = stages.check_work(sample)
    return [
        Stage("prepare", prepare_work(shape, num_tokens=10 * shape.width, window=WINDOW_TOKENS, layers=config.layers)),
        Stage("z", stages.search_work(edits, room=room)),
        Stage("keys", stages.sweep_work(edits)),
        Stage("solve", solve_work(shape, num_edits=num_edits, num_layers=num_layers)),
        Stage(f"checks of {len(sample)}", checks),
        Stage("checks of all", checks.times(num_edits / len(sample))),
        Stage("view", view_work(shape, num_layers=num_layers)),
    ]


def _compared(stages: Iterable[Stage], rates: Rates) -> Table:
    made = Table(title=f"demo-gptj, {NUM_MEASURED} edits, all steps: limits and measured times", title_justify="left")
    for column in ("stage", "operations", "at least", "bytes", "at least", "measured", "share"):
        made.add_column(column, justify="left" if column == "stage" else "right")
    for stage in stages:
        assert stage.seconds is not None
        share = rates.limit_seconds(stage.work) / stage.seconds
        made.add_row(*_limits(stage, rates), _seconds(stage.seconds), f"{share:.0%}")
    return made


def _extrapolated(stages: Iterable[Stage], rates: Rates, shares: dict[str, float], *, title: str) -> Table:
    made = Table(title=title, title_justify="left")
    for column in ("stage", "operations", "at least", "bytes", "at least", "share taken", "estimate"):
        made.add_column(column, justify="left" if column == "stage" else "right")
    for stage in stages:
        share = shares.get(stage.name.split()[0])
        estimate = "–" if share is None else _seconds(rates.limit_seconds(stage.work) / share)
        made.add_row(*_limits(stage, rates), "–" if share is None else f"{share:.0%}", estimate)
    return made


def _limits(stage: Stage, rates: Rates) -> tuple[str, ...]:
    work = stage.work
    operations, moved = _seconds(rates.operations_seconds(work)), _seconds(rates.bytes_seconds(work))
    return stage.name, f"{work.all_operations:.2e}", operations, f"{work.num_bytes:.2e}", moved


def _seconds(value: float) -> str:
    if value >= 7200:
        return f"{value / 3600:,.0f} h"
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


if __name__ == "__main__":
    sys.exit(main())
