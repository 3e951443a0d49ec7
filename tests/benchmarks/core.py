"""How fast the core is: ``python -m tests.benchmarks.core [--folder FOLDER] [--runs 3]``.

On the model of FOLDER (``model/``, ``counterfact-dev.json``, ``reference/``), else on the demo models. Every ratio is
measured side by side in this process. Exit code 1 if one is not reached.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.benchmarks import search_speed, update_speed
from tests.benchmarks.workplace import Workplace, of_demo_model, of_folder

LEAST_SEARCH_RATIO = 8.0
LEAST_UPDATE_RATIO = 5.0
MOST_GROWTH_SHARE = 0.25
WORST_Z, MEDIAN_Z, WORST_DELTA = 1e-2, 1e-4, 1e-6
"""Relative differences that float32 may make."""


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="measure the model of this folder")
    parser.add_argument("--runs", type=int, default=3, help="runs of which the median counts (default: 3)")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="errata-") as name:
        demo = of_demo_model("demo-gptj", Path(name), update_speed.NUM_LIVE + update_speed.NUM_NEW)
        timed = of_folder(options.folder) if options.folder else demo
        missed = [
            *_searches(timed, console, num_runs=options.runs),
            *_update(timed, console, num_runs=options.runs),
            *_growth(demo, console),
        ]
    console.print("all figures reached" if not missed else f"not reached: {'; '.join(missed)}")
    return int(bool(missed))


def _searches(place: Workplace, console: Console, *, num_runs: int) -> list[str]:
    found = search_speed.measure(place, num_runs=num_runs, say=console.print)
    console.print(
        f"{place.name}, z of {search_speed.NUM_EDITS} edits: serial {found.serial_seconds:.3f} s an edit, Errata "
        f"{found.ours_seconds:.3f} s: {found.ratio:.1f} times as many a second; counted operations "
        f"{found.counted_ratio:.1f} times fewer; relative difference of z {found.median_difference:.1e} in the median, "
        f"{found.worst_difference:.1e} at worst; {found.same_losses_read} with equal step counts"
    )
    missed = [f"search ratio {found.ratio:.1f} < {LEAST_SEARCH_RATIO}"] if found.ratio < LEAST_SEARCH_RATIO else []
    if found.median_difference > MEDIAN_Z or found.worst_difference > WORST_Z:
        missed.append(f"z differs by {found.median_difference:.1e}, at worst {found.worst_difference:.1e}")
    return missed


def _update(place: Workplace, console: Console, *, num_runs: int) -> list[str]:
    found = update_speed.measure_update(place, num_runs=num_runs)
    console.print(
        f"{place.name}, update of {update_speed.NUM_EDITS} edits: plain {found.plain_seconds:.2f} s, Errata "
        f"{found.ours_seconds:.2f} s: {found.ratio:.1f} times as fast; worst relative difference of a layer's change "
        f"{found.worst_difference:.1e}"
    )
    missed = [f"update ratio {found.ratio:.1f} < {LEAST_UPDATE_RATIO}"] if found.ratio < LEAST_UPDATE_RATIO else []
    return missed + ([f"delta differs by {found.worst_difference:.1e}"] if found.worst_difference > WORST_DELTA else [])


def _growth(place: Workplace, console: Console) -> list[str]:
    found = update_speed.measure_growth(place)
    console.print(
        f"{place.name}, {update_speed.NUM_NEW} edits on top of {update_speed.NUM_LIVE}: {found.grown_seconds:.1f} s, "
        f"the whole set from nothing {found.whole_seconds:.1f} s: {found.share:.0%}; the digest of the same stored z "
        f"{'is the same' if found.is_same else 'DIFFERS'}"
    )
    missed = [] if found.is_same else ["the digest depends on what was live before"]
    return missed + ([f"growth {found.share:.0%}"] if found.share > MOST_GROWTH_SHARE else [])


if __name__ == "__main__":
    sys.exit(main())
