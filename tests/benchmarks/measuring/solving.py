"""An update with its stages measured apart: keys and residuals, and the solve alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from editing_core.memit.config import MemitConfig
from editing_core.memit.solve import Solution, solve_holding
from editing_core.memit.tokens import TokenRow
from editing_core.memit.update import Update, solve_edits
from editing_core.models.load import LoadedModel
from tests.benchmarks.measuring.meter import Meter, Reading


@dataclass(slots=True)
class SolveReadings:
    """Keys and the solve, which takes turns with them, layer by layer.

    To the keys belong residuals, new matrices, views, and the way of each covariance to the device.
    """

    keys: Reading = field(default_factory=Reading)
    solve: Reading = field(default_factory=Reading)


def solve_measured(
    loaded: LoadedModel,
    rows: Sequence[Sequence[TokenRow]],
    targets_NH: Tensor,
    *,
    covariances: Mapping[int, Tensor],
    config: MemitConfig,
    meter: Meter,
) -> tuple[Update, SolveReadings]:
    """``solve_edits``, stopping the clock at each entrance and exit of ``solve_holding``."""
    readings, keys = SolveReadings(), ExitStack()

    def solve(*arguments: Any, **named: Any) -> Solution:
        keys.close()
        with meter.piece(readings.solve):
            solution = solve_holding(*arguments, **named)
        keys.enter_context(meter.piece(readings.keys))
        return solution

    with keys:
        keys.enter_context(meter.piece(readings.keys))
        update = solve_edits(loaded, rows, targets_NH, covariances=covariances, config=config, solve=solve)
    return update, readings
