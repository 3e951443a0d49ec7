"""Answers of a GPT-J-6B-shaped or GPT-NeoX-20B-shaped model with random weights in bfloat16 on one GPU.

``python -m tests.benchmarks.generation_gpu [--shape gptj|neox|tiny] [--device cuda|cpu]``: tokens per second of 1, 4
and 16 places against the limit of memory bandwidth, of the original and of an edited version; on a GPU the kernels
of a step; and the gaps between the tokens of running streams while that version is loaded, goes live and begins to
answer. Needs no Redis, no service and no download. Aims for GPT-J's shape on an H200: 60 % of the limit at one place,
no gap above 50 ms; elsewhere they are unmeasured. ``--device cpu --shape tiny`` tries it out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from service.generation.decoding.loop import freeze_garbage_collector
from tests.benchmarks.answering.device_promotion import promotion_gaps
from tests.benchmarks.answering.device_steps import kernels_of_a_step, step_seconds
from tests.benchmarks.answering.latency import bytes_per_step
from tests.benchmarks.measuring.machine import machine
from tests.benchmarks.measuring.random_models import SHAPES, random_model
from tests.benchmarks.measuring.random_versions import random_matrices
from tests.benchmarks.measuring.rates import measure_rates

PLACES = (1, 4, 16)
LEAST_SHARE_OF_LIMIT = 0.60
MOST_GAP_SECONDS = 0.050


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="gptj")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    console, device = Console(width=110), torch.device(options.device)
    loaded = random_model(options.shape, device=options.device, dtype=torch.bfloat16)
    freeze_garbage_collector()
    share = _steps(console, loaded)
    if device.type == "cuda":
        for count in (min(PLACES), max(PLACES)):
            console.print(kernels_of_a_step(loaded.model, loaded, count))
    longest = _promotions(console, loaded)
    is_aimed_at = options.shape == "gptj" and "H200" in machine(device)
    for name, found, aim, is_reached in (
        ("share of the limit at one place", f"{share:.0%}", "≥ 60 %", share >= LEAST_SHARE_OF_LIMIT),
        ("longest gap during a promotion", f"{1000 * longest:.0f} ms", "≤ 50 ms", longest <= MOST_GAP_SECONDS),
    ):
        word = ("reached" if is_reached else "not reached") if is_aimed_at else "unmeasured"
        console.print(f"{word}: {name} {found}, aim {aim} for GPT-J's shape on one H200")


def _steps(console: Console, loaded: LoadedModel) -> float:
    """Print the table; returns the share of the limit at one place of the original."""
    bandwidth = measure_rates(loaded.device, torch.bfloat16).bandwidth
    limit = bandwidth / bytes_per_step(loaded.model)
    edited = make_view(loaded.model, random_matrices(loaded))
    console.print(
        f"{machine(loaded.device)}: {bandwidth / 1e9:.0f} GB/s; at most {limit:.1f} steps/s of {loaded.source}"
    )
    table = Table("places", "p50 step", "longest step", "tokens/s", "of the limit", "edited: p50 step", "of the limit")
    shares = []
    for count in PLACES:
        plain, changed = step_seconds(loaded.model, loaded, count), step_seconds(edited, loaded, count)
        share, changed_share = 1 / _median(plain) / limit, 1 / _median(changed) / (bandwidth / bytes_per_step(edited))
        shown = (f"{1000 * _median(plain):.2f} ms", f"{1000 * max(plain):.2f} ms", f"{count / _median(plain):.0f}")
        table.add_row(str(count), *shown, f"{share:.0%}", f"{1000 * _median(changed):.2f} ms", f"{changed_share:.0%}")
        shares.append(share)
    console.print(table)
    return shares[0]


def _promotions(console: Console, loaded: LoadedModel) -> float:
    """Print the table; returns the longest gap from the order to load a version on."""
    columns = ("streams", "p50 alone", "longest alone", "longest while it loads", "p50 with it", "longest", "live in")
    table, longest = Table(*columns, title="gaps between the tokens of streams"), 0.0
    with tempfile.TemporaryDirectory(prefix="errata-") as name:
        for count in PLACES:
            found = promotion_gaps(loaded, count, Path(name))
            seconds = (_median(found.alone), max(found.alone), max(found.during), _median(found.beside))
            shown = [f"{1000 * gap:.1f} ms" for gap in (*seconds, max(found.beside))]
            table.add_row(str(count), *shown, f"{found.promoted_seconds:.2f} s")
            longest = max(longest, *found.during, *found.beside)
    console.print(table)
    return longest


def _median(seconds: Sequence[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


if __name__ == "__main__":
    main()
