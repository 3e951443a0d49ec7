"""Tables of the measurements on a large model: against their limits, for 10,000 edits, and against the targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from tests.benchmarks.arithmetic import ModelShape, solve_work
from tests.benchmarks.measuring.large_model import Choice, Measured
from tests.benchmarks.measuring.rates import Rates

NUM_EDITS = 10_000
LEAST_SEARCHES_PER_SECOND = 20.0
LEAST_SHARE_OF_MATRIX_LIMIT = 0.40
MOST_SECONDS = 600.0
MOST_UPDATE_SECONDS = 5.0
MOST_PROMOTE_SECONDS = 1.0


def limits_table(stages: Sequence[Measured], rates: Rates, *, title: str) -> Table:
    """Each stage with its two limits."""
    made = Table(title=title, title_justify="left")
    for column in ("stage", "measured s", "operations", "least s", "bytes", "least s", "share", "padding"):
        made.add_column(column, justify="left" if column == "stage" else "right")
    for stage in stages:
        work, padded = stage.work, stage.laid_out.all_operations
        made.add_row(
            stage.name,
            f"{stage.seconds:.3g}",
            f"{work.all_operations:.2e}",
            f"{rates.operations_seconds(work):.2g}",
            f"{work.num_bytes:.2e}",
            f"{rates.bytes_seconds(work):.2g}",
            f"{rates.limit_seconds(work) / stage.seconds:.1%}",
            f"{1 - work.all_operations / padded:.0%}" if padded else "–",
        )
    return made


def ten_thousand_table(stages: Sequence[Measured], shape: ModelShape, *, num_layers: int, choice: Choice) -> Table:
    """Seconds from POST to promoted for 10,000 edits: arithmetic from what was measured, without HTTP and Redis."""
    made = Table(title=f"{NUM_EDITS:,} edits by arithmetic", title_justify="left")
    for column in ("stage", "s", "how"):
        made.add_column(column, justify="right" if column == "s" else "left")
    parts = list(ten_thousand(stages, shape, num_layers=num_layers, choice=choice))
    for name, seconds, how in parts:
        made.add_row(name, f"{seconds:.1f}", how)
    made.add_row("together", f"{sum(seconds for _, seconds, _ in parts):.1f}", "without HTTP, Redis and files of z")
    return made


def ten_thousand(
    stages: Sequence[Measured], shape: ModelShape, *, num_layers: int, choice: Choice
) -> Iterator[tuple[str, float, str]]:
    """Each stage's name, seconds, and how they were found."""
    yield "z", _of(stages, "z").seconds * NUM_EDITS / choice.num_searches, f"{choice.num_searches} searched"
    yield "keys", _of(stages, "keys").seconds * NUM_EDITS / choice.num_updated, f"{choice.num_updated} read"
    many, some = (solve_work(shape, num_edits=n, num_layers=num_layers) for n in (NUM_EDITS, choice.num_updated))
    yield "solve", _of(stages, "solve").seconds * many.double / some.double, "by its operations"
    checks = _of(stages, "checks")
    yield "checks", checks.seconds, f"of a sample of {choice.num_checked}; of all {_all(checks, choice):,.0f} s"
    yield "write", _of(stages, "write").seconds, "as measured"
    yield "view + promote", _of(stages, "promote").seconds, "as measured, from the version's file"


@dataclass(frozen=True, slots=True)
class Aims:
    """The targets and the measurements."""

    stages: Sequence[Measured]
    rates: Rates
    shape: ModelShape
    num_layers: int
    """Edited ones."""
    choice: Choice
    is_measured: bool
    """False where this is not the model and the device that the aims are for."""

    def lines(self) -> Iterator[str]:
        """One line an aim."""
        z, keys, solve, promote = (_of(self.stages, name) for name in ("z", "keys", "solve", "view"))
        speed, least = self.choice.num_searches / z.seconds, LEAST_SEARCHES_PER_SECOND
        yield self._line("z a second", f"{speed:.1f}", f"≥ {least:.0f}", is_reached=speed >= least)
        share, least = self.rates.operations_seconds(z.work) / z.seconds, LEAST_SHARE_OF_MATRIX_LIMIT
        yield self._line("z, share of the matrix limit", f"{share:.1%}", f"≥ {least:.0%}", is_reached=share >= least)
        parts = ten_thousand(self.stages, self.shape, num_layers=self.num_layers, choice=self.choice)
        seconds = {
            f"{NUM_EDITS:,} edits from POST to promoted": (sum(seconds for _, seconds, _ in parts), MOST_SECONDS),
            f"keys and solve of {self.choice.num_updated:,}": (keys.seconds + solve.seconds, MOST_UPDATE_SECONDS),
            "view + promote": (promote.seconds, MOST_PROMOTE_SECONDS),
        }
        for name, (found, most) in seconds.items():
            yield self._line(name, f"{found:.2f} s", f"≤ {most:.0f} s", is_reached=found <= most)

    def _line(self, name: str, found: str, aim: str, *, is_reached: bool) -> str:
        if not self.is_measured:
            return f"unmeasured: {name}, aim {aim} for GPT-J's shape on one H200"
        return f"{'reached' if is_reached else 'not reached'}: {name} {found}, aim {aim}"


def _of(stages: Sequence[Measured], name: str) -> Measured:
    return next(stage for stage in stages if stage.name.startswith(name))


def _all(checks: Measured, choice: Choice) -> float:
    return checks.seconds * NUM_EDITS / choice.num_checked
