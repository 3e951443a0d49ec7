"""Compares the closed form with torch's own counter while the stages run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from editing_core.asking.probes import ProbeSet
from editing_core.edits import AcceptedEdit
from tests.benchmarks.arithmetic import prepare_work, solve_readout
from tests.benchmarks.measuring.meter import Meter
from tests.benchmarks.measuring.stages import BATCH_TOKENS, WINDOW_TOKENS, Stages, feed_moments

NUM_STEPS = 3
NUM_COUNTED = 16
"""Edits; the counter looks at every operation and is slow."""
NUM_CHECKED, NUM_PROBES, NUM_HELDOUT = 4, 40, 1000


def check_closed_form(stages: Stages, edits: Sequence[AcceptedEdit]) -> dict[str, float]:
    """By stage: closed form over counted. Of the solve the last product alone, since torch counts no other."""
    stages = replace(stages.without_early_stop(NUM_STEPS), probes=_some(stages.probes))
    stages = replace(stages, heldout_ids=stages.heldout_ids[:NUM_HELDOUT])
    edits, layers, ratios = edits[:NUM_COUNTED], stages.config.layers, {}
    with FlopCounterMode(display=False) as counter:
        targets = stages.search(edits)
    ratios["z"] = stages.search_work(edits).all_operations / counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        feed_moments(stages.loaded, layers, num_tokens=BATCH_TOKENS)
    window = min(WINDOW_TOKENS, stages.loaded.max_positions)
    work = prepare_work(stages.shape, num_tokens=BATCH_TOKENS, window=window, layers=layers)
    ratios["prepare"] = work.all_operations / counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        update, _ = stages.solve(edits, targets, Meter(torch.device("cpu")))
    work = stages.sweep_work(edits) + solve_readout(stages.shape, num_edits=len(edits)).times(len(layers))
    ratios["keys and solve"] = work.all_operations / counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        stages.check(edits[:NUM_CHECKED], update)
    ratios["checks"] = stages.check_work(edits[:NUM_CHECKED]).all_operations / counter.get_total_flops()
    return ratios


def _some(probes: ProbeSet) -> ProbeSet:
    return ProbeSet(probes.prompts[:NUM_PROBES], probes.answers[:NUM_PROBES], probes.log_probs[:NUM_PROBES])
