"""The cost of answering: ``python -m tests.benchmarks.generation [throughput|swap|latency|commit]`` (default: all).

Each part measures both sides of its comparison in one run, in turns; exit code 1 when a figure is not reached. Run it
on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

import torch
from rich.console import Console

from tests.benchmarks.answering.commit import measure_commit
from tests.benchmarks.answering.latency import measure_latency
from tests.benchmarks.answering.swap import measure_swap
from tests.benchmarks.answering.throughput import measure_throughput
from tests.benchmarks.measuring.machine import machine

PARTS: dict[str, Callable[[Console, str], bool]] = {
    "throughput": measure_throughput,
    "swap": measure_swap,
    "latency": measure_latency,
    "commit": measure_commit,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.generation", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all")
    parser.add_argument("--model", default="demo-gptj", help="demo name or folder; default demo-gptj")
    options = parser.parse_args()
    console = Console(width=130)
    torch.set_num_threads(os.cpu_count() or 1)  # as the service does; the tests' own models compute on one
    console.print(machine(torch.device("cpu")))
    reached = [PARTS[part](console, options.model) for part in options.parts or PARTS]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
