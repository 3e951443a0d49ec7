"""The batched search for z against the plain serial one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import torch

from editing_core.memit.plain import search_plainly
from editing_core.memit.search.memory import CPU_ROWS, rows_that_fit
from editing_core.memit.search.pool import Target
from editing_core.memit.search.prepare import prepare_batch
from editing_core.memit.search.rows import GroupRows
from editing_core.memit.targets import SearchDiverged, SearchTooLarge, search_targets
from editing_core.memit.tokens import EditRows, edit_rows
from editing_core.models.load import LoadedModel
from tests.support.tiny_loaded import CONFIG, CONTEXTS, tiny_edits, tiny_loaded
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily
from tests.support.wide_attention import attention_in_the_models_dtype

TOLERANCE = 1e-9
"""Of z in float64, relative."""
STOP_LOSS: dict[TinyFamily, float] = {"gptj": 6.3, "gpt_neox": 6.3, "gpt2": 16.0, "llama": 7.0}


@pytest.fixture(autouse=True)
def _in_the_models_dtype() -> Iterator[None]:
    with attention_in_the_models_dtype():
        yield


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
    batched = search_targets(loaded, [GroupRows((edit,)) for edit in rows], config, batch_rows=24)
    serial = [search_plainly(loaded, edit, config) for edit in rows]

    assert [b.num_losses for b in batched] == [s.num_losses for s in serial]
    assert len({b.num_losses for b in batched}) > 1
    for ours, plain in zip(batched, serial, strict=True):
        assert float((ours.targets_EH[0] - plain.target_H).norm() / plain.target_H.norm()) < TOLERANCE


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_z_of_a_batch_equals_z_one_by_one(family: TinyFamily) -> None:
    loaded = tiny_loaded(family, dtype=torch.float64)
    rows = rows_of(loaded, 10)
    together = search_targets(loaded, [GroupRows((edit,)) for edit in rows], CONFIG, batch_rows=10_000)
    alone = [search_targets(loaded, [GroupRows((edit,))], CONFIG, batch_rows=1)[0] for edit in rows]

    for one, other in zip(together, alone, strict=True):
        assert one.num_losses == other.num_losses
        assert float((one.targets_EH - other.targets_EH).norm() / other.targets_EH.norm()) < TOLERANCE


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_searches_that_end_give_their_places_to_waiting_ones_without_changing_any(family: TinyFamily) -> None:
    loaded = tiny_loaded(family, dtype=torch.float64)
    config = replace(CONFIG, stop_loss=STOP_LOSS[family])
    groups = [GroupRows((edit,)) for edit in rows_of(loaded, 20)]
    found_at: list[int] = []

    together = search_targets(loaded, groups, config, batch_rows=10_000)
    in_turn = search_targets(
        loaded, groups, config, batch_rows=5 * groups[0].num_rows, on_found=lambda index, _: found_at.append(index)
    )

    assert sorted(found_at) == list(range(20))
    for one, other in zip(together, in_turn, strict=True):
        assert one.num_losses == other.num_losses
        assert float((one.targets_EH - other.targets_EH).norm() / other.targets_EH.norm()) < TOLERANCE


def test_what_does_not_fit_into_memory_is_searched_in_smaller_batches(caplog: pytest.LogCaptureFixture) -> None:
    loaded = tiny_loaded("gptj")
    groups = [GroupRows((edit,)) for edit in rows_of(loaded, 7)]
    whole = search_targets(loaded, groups, CONFIG, batch_rows=10_000)
    sizes: list[int] = []

    def small_device(loaded: LoadedModel, chosen: Sequence[GroupRows], **options: Any) -> Any:
        sizes.append(len(chosen))
        if len(chosen) > 2:
            raise torch.OutOfMemoryError("the device is small")
        return prepare_batch(loaded, chosen, **options)

    found = search_targets(loaded, groups, CONFIG, batch_rows=10_000, prepare=small_device)
    assert sizes[:3] == [7, 3, 1]
    assert "do not fit into memory" in caplog.text
    for one, other in zip(whole, found, strict=True):
        # float32 sums of other company, over twelve steps of Adam
        assert torch.allclose(one.targets_EH, other.targets_EH, atol=1e-3)


def test_a_single_search_that_does_not_fit_is_an_error() -> None:
    loaded = tiny_loaded("gptj")

    def no_memory(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("nothing is free")

    with pytest.raises(SearchTooLarge, match="rows of its edits"):
        search_targets(loaded, [GroupRows((rows_of(loaded, 1)[0],))], CONFIG, prepare=no_memory)


def test_fewer_rows_fit_if_less_is_free_and_at_least_one_always() -> None:
    loaded = tiny_loaded("gptj")
    groups = [GroupRows((edit,)) for edit in rows_of(loaded, 3)]

    def fitting(free: int | None) -> int:
        return rows_that_fit(loaded, groups, target_layer=1, free=lambda device: free)

    assert fitting(None) == fitting(10**12) == CPU_ROWS
    assert CPU_ROWS > fitting(10**7) > fitting(2 * 10**6) >= 1
    assert fitting(0) == 1


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


def overflowing(loaded: LoadedModel, token: int) -> LoadedModel:
    """The model with one token whose embedding is beyond all numbers, as activations in float16 can be."""
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[token] = torch.inf
    return loaded


def test_a_search_that_overflows_spoils_no_other_and_is_an_error_when_all_others_are_done() -> None:
    loaded = tiny_loaded("llama")
    rows = rows_of(loaded, 8)
    others = {i for number, row in enumerate(rows) if number != 3 for i in row.prompts[0].ids}
    broken = overflowing(loaded, min({*rows[3].prompts[0].ids} - others))
    alone = {}
    for number, edit in enumerate(rows):
        with suppress(SearchDiverged):
            alone[number] = search_targets(broken, [GroupRows((edit,))], CONFIG)[0]
    found: dict[int, Target] = {}

    with pytest.raises(SearchDiverged, match="use bfloat16 or float32"):
        search_targets(broken, [GroupRows((edit,)) for edit in rows], CONFIG, on_found=found.__setitem__)

    assert 0 < len(alone) < len(rows)
    assert found.keys() == alone.keys()
    assert all(target.targets_EH.isfinite().all() for target in found.values())
