"""A GPT-J-6B-shaped or GPT-NeoX-20B-shaped model with random weights in bfloat16 on one GPU, stage by stage.

``python -m tests.benchmarks.gptj_gpu [--shape gptj|neox|tiny] [--device cuda|cpu]``. Every stage is shown with its two
limits: the operations that it needs (without padding) over the matrix rate measured here, and the bytes that it must
move at least over the bandwidth measured here. Searches take all 25 steps. Then the arithmetic for 10,000 edits, with
the checks asked of the stated sample. Needs no Redis, no service and no download, and less than 8 minutes on an H200;
``--device cpu --shape tiny`` tries it out anywhere.

The aims hold for GPT-J's shape on one NVIDIA H200; on anything else they are unmeasured.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from rich.console import Console

from tests.benchmarks.measuring.large_model import Choice, LargeModel
from tests.benchmarks.measuring.large_report import Aims, limits_table, ten_thousand_table
from tests.benchmarks.measuring.machine import machine
from tests.benchmarks.measuring.meter import Meter, Reading
from tests.benchmarks.measuring.random_edits import RowShape
from tests.benchmarks.measuring.random_models import SHAPES, random_model
from tests.benchmarks.measuring.rates import measure_rates

WIDTH = 110
"""Of what is printed."""
SEARCHES = {"gptj": 1000, "neox": 250, "tiny": 20}
"""Searches that are measured: those of the large shape take longer."""
UPDATED = {"gptj": 1000, "neox": 1000, "tiny": 40}
CHECKED = {"gptj": 300, "neox": 100, "tiny": 5}


def main() -> None:
    """Measure and print."""
    options = _options()
    console, device = Console(width=WIDTH), torch.device(options.device)
    making, meter = Reading(), Meter(device)
    with meter.piece(making):
        loaded = random_model(
            options.shape, device=options.device, dtype=torch.bfloat16, layers_scale=options.layers_scale
        )
    console.print(f"{loaded.source} in {loaded.dtype}, made in {making.seconds:.1f} s; rows: {RowShape()}")
    rates = measure_rates(device, torch.bfloat16)
    console.print(f"{machine(device)}: {rates}")
    choice = Choice(
        num_searches=min(options.edits or SEARCHES[options.shape], SEARCHES[options.shape]),
        num_updated=options.edits or UPDATED[options.shape],
        num_checked=min(options.checked or CHECKED[options.shape], options.edits or UPDATED[options.shape]),
    )
    with tempfile.TemporaryDirectory(prefix="errata-") as name:
        large = LargeModel(loaded, choice, meter)
        stages = []
        for stage in large.stages(Path(name)):
            stages.append(stage)
            console.print(f"{stage.name}: {stage.seconds:.3f} s, peak memory +{stage.grown_bytes / 1e9:.2f} GB")
    console.print(limits_table(stages, rates, title=f"{loaded.source}: measured times and their limits"))
    num_layers = len(large.config.layers)
    console.print(ten_thousand_table(stages, large.shape, num_layers=num_layers, choice=choice))
    is_whole = options.shape == "gptj" and options.layers_scale == 1.0 and choice.num_updated == UPDATED["gptj"]
    is_aimed_at = is_whole and "H200" in machine(device)
    aims = Aims(stages, rates, large.shape, num_layers, choice, is_measured=is_aimed_at)
    for line in aims.lines():
        console.print(line)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="gptj")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 … or cpu (default: cuda)")
    parser.add_argument("--edits", type=int, help="edits of the update, and most that are searched (default: 1,000)")
    parser.add_argument("--checked", type=int, help="edits that are checked")
    parser.add_argument("--layers-scale", type=float, default=1.0, help="share of the blocks that the model has")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here: --device cpu --shape tiny tries the script out")
    return options


if __name__ == "__main__":
    main()
