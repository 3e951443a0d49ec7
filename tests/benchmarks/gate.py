"""The gate in one table: ordinary batches pass with the default limits, wrecking ones never go live.

``python -m tests.benchmarks.gate [--model demo-gptj] [--batches 20]``: over HTTP, each batch on the untouched model;
prints the worst figure of each size with its limit (the defaults were chosen from this table); exit code 1 if an
ordinary batch is rejected, a wrecking one passes, or a rejected one leaves a trace in what is served.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from editing_core.demo.models import DemoModel
from service.cli.demo.running import running_errata
from service.client.client import Client
from tests.benchmarks.hundred_edits import draw
from worker.protocol.settings import fresh_environment

SIZES = (1, 10, 100)
WEAK_PRIOR_WEIGHT = 1e-3
WRECKED_SUBJECTS = ("The", "It", "He", "She", "They", "We", "I", "In", "A", "There", "When", "After", "Every", "On")
WRECKING_TARGETS = ("zqx", "#### ####", "vvvvvv", "01010101", "~!~!~")


@dataclass
class Outcome:
    """The results of the batches of one kind."""

    name: str
    wanted: str
    applied: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    traces: int = 0
    """Rejected batches after which the served digest was another."""

    @property
    def holds(self) -> bool:
        """Every batch ended as wanted, and no rejected one left a trace."""
        return (self.rejected if self.wanted == "applied" else self.applied) == 0 and self.traces == 0


def main() -> int:
    """Run all batches of all kinds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("demo-gptj", "demo-gptneox"), default="demo-gptj")
    parser.add_argument("--batches", type=int, default=20, help="ordinary batches of each size (default: 20)")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with errata(options.model) as client:
        for size in SIZES:
            batches = [[e.to_json() for e in draw(1000 * size + i, size)] for i in range(options.batches)]
            outcomes.append(send(client, f"ordinary, {size}", batches, wanted="applied"))
        outcomes.append(send(client, "wrecking, preset λ", [wrecking()], wanted="rejected"))
    with errata(options.model, prior_weight=WEAK_PRIOR_WEIGHT) as client:
        weak = [[e.to_json() for e in draw(7, 100)]]
        outcomes.append(send(client, f"ordinary, λ {WEAK_PRIOR_WEIGHT:g}", weak, wanted="rejected"))
    Console().print(table(options.model, outcomes))
    for outcome in outcomes:
        for reason in outcome.reasons:
            print(f"{outcome.name}: {reason}")
    return 0 if all(outcome.holds for outcome in outcomes) else 1


def wrecking() -> list[dict[str, Any]]:
    """Edits that put nonsense behind the commonest beginnings of sentences."""
    return [
        {"subject": subject, "prompt": prompt, "target_new": WRECKING_TARGETS[(i + j) % len(WRECKING_TARGETS)]}
        for i, subject in enumerate(WRECKED_SUBJECTS)
        for j, prompt in enumerate(("{}", "{} was", "{} and"))
    ]


@contextmanager
def errata(model: DemoModel, **settings: Any) -> Iterator[Client]:
    """A whole Errata on a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="errata-") as name:
        environment = fresh_environment(model=model, data=Path(name) / "data", port=0, **settings)
        with (
            running_errata(environment, log=Path(name) / "log") as running,
            Client(running.url, timeout_seconds=300.0) as client,
        ):
            yield client


def send(client: Client, name: str, batches: list[list[dict[str, Any]]], *, wanted: str) -> Outcome:
    """Send each batch onto the untouched model and note what became of it."""
    outcome = Outcome(name, wanted)
    for edits in batches:
        client.promote("v0")
        before = client.version("v0").digest
        batch = client.wait_for_batch(client.submit_edits(edits).id)
        if batch.status == "applied":
            outcome.applied += 1
            assert batch.version is not None
            outcome.checks.append(dict(client.version(batch.version).checks or {}))
            continue
        outcome.rejected += 1
        outcome.reasons.append(f"{batch.status}: {batch.error}")
        live = next(version for version in client.versions() if version.status == "live")
        outcome.traces += live.digest != before
    return outcome


def table(model: str, outcomes: list[Outcome]) -> Table:
    """Counts, and the worst of each figure."""
    made = Table(title=f"{model}: the gate (worst figure of each kind)", title_justify="left")
    for column in ("batches", "applied", "rejected", "reliability", "specificity", "drift", "perplexity", "‖Δ‖/‖W‖"):
        made.add_column(column, justify="left" if column == "batches" else "right")
    for outcome in outcomes:
        checks = outcome.checks
        cells = ["–"] * 5
        if checks:
            cells = [
                f"{min(check['reliability']['share'] for check in checks):.0%}",
                f"{min(check['specificity']['share'] for check in checks):.0%}",
                f"{max(check['drift'] for check in checks):.3f}",
                f"{max(check['perplexity']['rise'] for check in checks):+.1%}",
                f"{max(max(check['delta_norms'].values()) for check in checks):.3f}",
            ]
        made.add_row(outcome.name, str(outcome.applied), str(outcome.rejected), *cells)
    return made


if __name__ == "__main__":
    sys.exit(main())
