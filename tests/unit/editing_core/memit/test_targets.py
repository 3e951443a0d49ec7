"""The batched search for z against the plain serial one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from editing_core.memit.search_batch import GroupRows
from editing_core.memit.targets import search_targets
from editing_core.memit.tokens import EditRows, edit_rows
from editing_core.models.load import LoadedModel
from tests.support.serial_targets import serial_target
from tests.support.tiny_loaded import CONFIG, CONTEXTS, tiny_edits, tiny_loaded
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily

STOP_LOSS: dict[TinyFamily, float] = {"gptj": 6.3, "gpt_neox": 6.3, "gpt2": 16.0, "llama": 7.0}


def rows_of(loaded: LoadedModel, num_edits: int) -> list[EditRows]:
    return [
        edit_rows(loaded.tokenizer, accepted.edit, CONTEXTS, max_positions=loaded.max_positions)
        for accepted in tiny_edits(num_edits)
    ]


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_batch_gives_the_z_of_the_plain_serial_search_with_the_same_step_counts(family: TinyFamily) -> None:
    loaded = tiny_loaded(family, dtype=torch.float64)
    # Some edits stop early and some run out of steps, so that stopping one does not disturb the others.
    config = replace(CONFIG, stop_loss=STOP_LOSS[family])
    rows = rows_of(loaded, 12)
    # GPT-J's attention computes its scores in float32 whatever the model's dtype is (transformers).
    tolerance = 1e-5 if family == "gptj" else 1e-9

    batched = search_targets(loaded, [GroupRows((edit,)) for edit in rows], config, batch_rows=24)
    serial = [serial_target(loaded, edit, config) for edit in rows]

    assert [b.num_losses for b in batched] == [s.num_losses for s in serial]
    assert len({b.num_losses for b in batched}) > 1
    for ours, plain in zip(batched, serial, strict=True):
        assert float((ours.targets_EH[0] - plain.target_H).norm() / plain.target_H.norm()) < tolerance


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_z_of_a_batch_equals_z_one_by_one(family: TinyFamily) -> None:
    loaded = tiny_loaded(family, dtype=torch.float64)
    rows = rows_of(loaded, 10)
    tolerance = 1e-5 if family == "gptj" else 1e-9

    together = search_targets(loaded, [GroupRows((edit,)) for edit in rows], CONFIG, batch_rows=10_000)
    alone = [search_targets(loaded, [GroupRows((edit,))], CONFIG, batch_rows=1)[0] for edit in rows]

    for one, other in zip(together, alone, strict=True):
        assert one.num_losses == other.num_losses
        assert float((one.targets_EH - other.targets_EH).norm() / other.targets_EH.norm()) < tolerance


def test_delta_stays_within_the_clamp() -> None:
    loaded = tiny_loaded("gptj")
    config = replace(CONFIG, clamp_factor=0.1)

    for target in search_targets(loaded, [GroupRows((r,)) for r in rows_of(loaded, 4)], config, batch_rows=100):
        hidden = target.targets_EH[0] - target.delta_H
        assert float(target.delta_H.norm()) <= 0.1 * float(hidden.norm()) * (1 + 1e-5)


def test_edits_about_one_subject_share_one_delta() -> None:
    loaded = tiny_loaded("gpt_neox")
    first, second = rows_of(loaded, 2)

    (found,) = search_targets(loaded, [GroupRows((first, second))], CONFIG, batch_rows=100)

    assert found.targets_EH.shape[0] == 2
    assert not torch.equal(found.targets_EH[0], found.targets_EH[1])
    assert (
        found.loss
        < search_targets(loaded, [GroupRows((first, second))], replace(CONFIG, num_steps=1), batch_rows=9)[0].loss
    )


def test_progress_counts_all_edits_and_may_stop_the_work() -> None:
    loaded = tiny_loaded("gptj")
    rows = [GroupRows((edit,)) for edit in rows_of(loaded, 5)]
    seen: list[tuple[int, int]] = []

    search_targets(loaded, rows, CONFIG, batch_rows=8, on_progress=lambda done, total: seen.append((done, total)))

    assert seen[-1] == (5, 5)
    assert seen == sorted(seen)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_targets(loaded, rows, CONFIG, batch_rows=8, on_progress=stop)
