"""What the first edited layer read is used again, and using it changes no bit."""

from __future__ import annotations

import torch
from torch import Tensor

from editing_core.edits import canonical
from editing_core.memit.first_layer_inputs import KeptReads, chunk_size
from editing_core.memit.tokens import TokenRow, edit_rows
from editing_core.memit.update import solve_edits
from editing_core.models.load import LoadedModel
from tests.support.tiny_loaded import CONFIG, CONTEXTS, tiny_edits, tiny_loaded

NUM_EDITS = 300


def rows_of(loaded: LoadedModel, num_edits: int) -> list[tuple[TokenRow, ...]]:
    return [
        edit_rows(loaded.tokenizer, accepted.edit, CONTEXTS, max_positions=loaded.max_positions).prompts
        for accepted in canonical(tiny_edits(num_edits))
    ]


def solved(loaded: LoadedModel, rows: list[tuple[TokenRow, ...]], kept: KeptReads | None) -> dict[str, Tensor]:
    width = 4 * loaded.hidden_size
    targets = torch.randn(len(rows), loaded.hidden_size, generator=torch.Generator().manual_seed(0))
    covariances = dict.fromkeys(CONFIG.layers, torch.eye(width))
    return solve_edits(loaded, rows, targets, covariances=covariances, config=CONFIG, kept=kept).weights


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_ten_more_edits_read_only_the_chunks_they_fall_into_and_give_the_same_bits() -> None:
    loaded, kept = tiny_loaded("gptj"), KeptReads()
    whole = rows_of(loaded, NUM_EDITS)
    before = [row for i, row in enumerate(whole) if i % 30]
    solved(loaded, before, kept)
    num_chunks = len(list(kept.chunks(whole, chunk_size(loaded.device))))
    made = kept.num_made

    grown = solved(loaded, whole, kept)

    assert len(whole) - len(before) == 10
    assert 0 < kept.num_made - made < num_chunks
    assert equal(grown, solved(loaded, whole, None))


def test_the_same_set_again_reads_nothing() -> None:
    loaded, kept = tiny_loaded("gpt_neox"), KeptReads()
    rows = rows_of(loaded, 40)
    first = solved(loaded, rows, kept)
    made = kept.num_made
    assert equal(solved(loaded, rows, kept), first)
    assert kept.num_made == made


def test_an_edit_taken_out_leaves_the_bits_of_a_set_that_never_had_it() -> None:
    loaded, kept = tiny_loaded("gptj"), KeptReads()
    rows = rows_of(loaded, 50)
    solved(loaded, rows, kept)
    assert equal(solved(loaded, rows[:20] + rows[21:], kept), solved(loaded, rows[:20] + rows[21:], None))


def test_chunks_hold_every_edit_once_and_none_is_too_long() -> None:
    rows, size = rows_of(tiny_loaded("gptj"), NUM_EDITS), chunk_size(torch.device("cpu"))
    chunks = list(KeptReads().chunks(rows, size))
    assert [row for chunk in chunks for row in chunk] == rows
    assert max(map(len, chunks)) <= size.most
    assert len(chunks) > 4


def test_what_was_used_least_recently_goes_when_room_is_short() -> None:
    loaded, kept = tiny_loaded("gptj"), KeptReads(most_bytes=1)
    rows = rows_of(loaded, 30)
    first = solved(loaded, rows, kept)
    made = kept.num_made
    assert equal(solved(loaded, rows, kept), first)
    assert kept.num_made == 2 * made
