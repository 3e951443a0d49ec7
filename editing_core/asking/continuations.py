"""Greedy continuations of prompts, many at once, and the search for an object's name in them.

The module has its own loop and does not call the library's ``generate``, so the generation settings of a checkpoint
(penalties, lengths) have no effect: a continuation depends only on the logits.
"""

# Dims: R rows of one batch, T tokens.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from editing_core.asking.scoring import OnRows, batches_by_length, max_positions, prompt_ids
from editing_core.edits import normalise

NUM_TOLD_TOKENS = 24
"""Tokens within which an answer must name the new object."""


def continue_greedily(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = NUM_TOLD_TOKENS,
    batch_size: int = 64,
    on_rows: OnRows = lambda num_rows: None,
) -> list[str]:
    """Return the text that greedy decoding writes after each prompt, up to the end token or the end of the context.

    Raises InvalidPrompt if a prompt has no tokens or leaves no room in the context.
    """
    rows = [prompt_ids(model, tokenizer, prompt, num_new=1) for prompt in prompts]
    texts = [""] * len(rows)
    for batch in _batches(rows, max_positions(model), max_new_tokens=max_new_tokens, batch_size=batch_size):
        written = _continue_batch(
            model, [rows[i] for i in batch], max_new_tokens, end=tokenizer.eos_token_id, on_rows=on_rows
        )
        for place, ids in zip(batch, written, strict=True):
            texts[place] = tokenizer.decode(ids)
    return texts


def _batches(rows: Sequence[Sequence[int]], limit: int, *, max_new_tokens: int, batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of rows that run together. All have equal room, so no row ends early because of another."""
    rooms = [min(max_new_tokens, limit - len(row)) for row in rows]
    for room in sorted(set(rooms)):
        places = [place for place, own in enumerate(rooms) if own == room]
        for batch in batches_by_length([len(rows[place]) for place in places], batch_size):
            yield [places[i] for i in batch]


@torch.no_grad()
def _continue_batch(
    model: nn.Module, rows: Sequence[Sequence[int]], max_new_tokens: int, *, end: int | None, on_rows: OnRows
) -> list[list[int]]:
    """Return the ids written after each row. All rows end together, so each step reports its share of them."""
    ids_RT, mask_RT = _pad_left(rows, device=next(model.parameters()).device)
    positions_RT = (mask_RT.cumsum(1) - 1).clamp(min=0)
    num_steps = min(max_new_tokens, max_positions(model) - ids_RT.shape[1])
    cache = DynamicCache(config=model.config)
    written: list[list[int]] = [[] for _ in rows]
    is_open = [True] * len(rows)
    reported = 0
    for step in range(1, num_steps + 1):
        next_R = _step(model, ids_RT, mask_RT, positions_RT=positions_RT, cache=cache)
        for row, token in enumerate(next_R.tolist()):
            is_open[row] = is_open[row] and token != end
            if is_open[row]:
                written[row].append(token)
        due = len(rows) * step // num_steps if any(is_open) else len(rows)
        if due > reported:
            on_rows(due - reported)
            reported = due
        if not any(is_open):
            break
        ids_RT, positions_RT = next_R[:, None], positions_RT[:, -1:] + 1
        mask_RT = torch.cat([mask_RT, torch.ones_like(ids_RT)], dim=1)
    return written


def _step(model: nn.Module, ids_RT: Tensor, mask_RT: Tensor, *, positions_RT: Tensor, cache: DynamicCache) -> Tensor:
    output = model(
        input_ids=ids_RT,
        attention_mask=mask_RT,
        position_ids=positions_RT,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    next_R: Tensor = output.logits[:, -1].argmax(1)
    return next_R


def _pad_left(rows: Sequence[Sequence[int]], *, device: torch.device) -> tuple[Tensor, Tensor]:
    longest = max(len(row) for row in rows)
    ids_RT = torch.tensor([[*[0] * (longest - len(row)), *row] for row in rows], device=device)
    lengths_R = torch.tensor([len(row) for row in rows], device=device)
    return ids_RT, (torch.arange(longest, device=device) >= longest - lengths_R[:, None]).long()


def tells(text: str, new: str, old: str | None) -> bool:
    """Return whether the text names the new object, and not the old one before it.

    The comparison ignores case. A name must match whole words ("Parisian" does not name "Paris"). In scripts without
    upper and lower case, which often write no spaces, a name may match anywhere. If both names begin at the same place
    ("Guinea", "Guinea-Bissau"), the longer one counts.
    """
    new_place = find_named(text, new)
    if new_place is None:
        return False
    old_place = find_named(text, old) if old is not None else None
    if old is None or old_place is None or new_place < old_place:
        return True
    return new_place == old_place and len(normalise(new)) >= len(normalise(old))


def find_named(text: str, name: str) -> int | None:
    """Return the index of the first place that names it, or None."""
    folded, wanted = normalise(text).casefold(), normalise(name).casefold()
    place = folded.find(wanted) if wanted else -1
    while place >= 0:
        end = place + len(wanted)
        if not (_joined(folded, place) or _joined(folded, end)):
            return place
        place = folded.find(wanted, place + 1)
    return None


def _joined(text: str, place: int) -> bool:
    """Return whether the characters on both sides of the place belong to one word."""
    return 0 < place < len(text) and _of_word(text[place - 1]) and _of_word(text[place])


def _of_word(char: str) -> bool:
    return char.isdigit() or char.lower() != char.upper()
