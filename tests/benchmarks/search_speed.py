"""z of many edits: Errata's search against a plain serial one, side by side in one process."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from editing_core.measuring.metrics import evaluate_cases
from editing_core.memit.plain import PlainTarget, search_plainly
from editing_core.memit.search.pool import Target
from editing_core.memit.search.rows import GroupRows
from editing_core.memit.targets import search_targets
from editing_core.memit.tokens import EditRows
from editing_core.memit.update import solve_edits
from editing_core.models.views import make_view
from tests.benchmarks.workplace import Workplace
from tests.support.wide_attention import attention_in_the_models_dtype

T = TypeVar("T")
NUM_EDITS = 64
NUM_COUNTED = 8
"""Serial searches whose operations are counted."""
NUM_IN_FLOAT64 = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpeed:
    """What was measured."""

    serial_seconds: float
    """Median time of one edit."""
    ours_seconds: float
    counted_ratio: float
    """Operations of matrix products of the serial search over ours."""
    median_difference: float
    """Of z, relative."""
    worst_difference: float
    same_losses_read: int
    """Edits whose searches took the same number of steps."""
    taken: tuple[int, int]
    """Edits that take, solved with our z and with the serial ones."""
    worst_in_float64: float
    same_losses_in_float64: bool

    @property
    def ratio(self) -> float:
        """The ratio of the edits per second."""
        return self.serial_seconds / self.ours_seconds


def measure(place: Workplace, *, num_runs: int, say: Callable[[str], None]) -> SearchSpeed:
    """Run both ``num_runs`` times in turn."""
    editor = place.editor(Path())  # nothing is kept
    rows = [editor.rows_of(edit) for edit in place.edits[:NUM_EDITS]]
    serial_times, ours_times = [], []
    for run in range(num_runs):
        seconds, ours = _timed(lambda: _ours(place, rows))
        ours_times.append(seconds / len(rows))
        seconds, serial = _timed(lambda: [search_plainly(place.loaded, edit, place.config) for edit in rows])
        serial_times.append(seconds / len(rows))
        say(f"run {run + 1} of {num_runs}: serial {serial_times[-1]:.3f} s an edit, Errata {ours_times[-1]:.3f} s")
    exact = _in_float64(place, rows[:NUM_IN_FLOAT64])
    differences = sorted(_difference(a, b) for a, b in zip(ours, serial, strict=True))
    return SearchSpeed(
        serial_seconds=median(serial_times),
        ours_seconds=median(ours_times),
        counted_ratio=_counted_ratio(place, rows[:NUM_COUNTED]),
        median_difference=median(differences),
        worst_difference=differences[-1],
        same_losses_read=sum(a.num_losses == b.num_losses for a, b in zip(ours, serial, strict=True)),
        taken=(
            _num_holding(place, torch.stack([target.targets_EH[0] for target in ours])),
            _num_holding(place, torch.stack([target.target_H for target in serial])),
        ),
        worst_in_float64=exact[0],
        same_losses_in_float64=exact[1],
    )


def _num_holding(place: Workplace, targets_NH: Tensor) -> int:
    """How many edits hold after a solve with these z."""
    editor, edits = place.editor(Path()), place.edits[:NUM_EDITS]
    rows = [editor.rows_of(edit).prompts for edit in edits]
    update = solve_edits(place.loaded, rows, targets_NH, covariances=place.artefacts.covariances, config=place.config)
    view = make_view(place.loaded.model, update.weights)
    scored = evaluate_cases(view, place.loaded.tokenizer, [(accepted.edit, ()) for accepted in edits])
    return sum(case.holds for case in scored)


def _in_float64(place: Workplace, rows: Sequence[EditRows]) -> tuple[float, bool]:
    """Worst relative difference of z in float64, attention included, and whether all step counts agree."""
    loaded = replace(place.loaded, model=copy.deepcopy(place.loaded.model).double())
    wide = replace(place, loaded=loaded)
    with attention_in_the_models_dtype():
        ours = _ours(wide, rows)
        serial = [search_plainly(loaded, edit, place.config) for edit in rows]
    pairs = list(zip(ours, serial, strict=True))
    return max(_difference(a, b) for a, b in pairs), all(a.num_losses == b.num_losses for a, b in pairs)


def _ours(place: Workplace, rows: Sequence[EditRows]) -> list[Target]:
    return search_targets(place.loaded, [GroupRows((edit,)) for edit in rows], place.config)


def _counted_ratio(place: Workplace, rows: Sequence[EditRows]) -> float:
    with FlopCounterMode(display=False) as serial:
        for edit in rows:
            search_plainly(place.loaded, edit, place.config)
    with FlopCounterMode(display=False) as ours:
        _ours(place, rows)
    return serial.get_total_flops() / ours.get_total_flops()


def _difference(ours: Target, serial: PlainTarget) -> float:
    return float((ours.targets_EH[0] - serial.target_H).norm() / serial.target_H.norm())


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
