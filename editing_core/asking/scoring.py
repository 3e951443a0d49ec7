"""Scores how likely a model finds given targets after given prompts: one forward pass, teacher-forced.

If the tokens of one pair begin those of another, both pairs share a row. A prompt with two single-token targets is
therefore one row. Rows of similar length are padded on the right and run together. The vocabulary head runs only at
positions that predict a token of a target. The same list of pairs gives the same rows for every model.
"""

# Dims: R rows of one batch, T tokens, H hidden size, P predicted positions of the batch, V vocabulary.

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editing_core.errors import InvalidPrompt
from editing_core.memit.tokens import target_ids

OnRows = Callable[[int], None]
"""Called with the number of rows done since the last call; may raise."""


def counting_rows(on_progress: Callable[[int, int], None], total: int) -> OnRows:
    """Add up the rows of several stages, and report (done, total) after each batch."""
    done = 0

    def count(num_rows: int) -> None:
        nonlocal done
        done += num_rows
        on_progress(done, total)

    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetScore:
    """The probabilities that a model gives one target after one prompt."""

    mean_logprob: float
    """Mean over the target's tokens of ln p(token | those before). CounterFact's metrics compare it."""
    probability: float
    """Probability of all tokens together."""
    rank: int
    """Rank of the first token: 1 is the first choice."""
    greedy_match: bool
    """Whether every token is the first choice given those before it, so that greedy decoding gives the target."""
    num_tokens: int
    first_choice: int
    """The token that the model would write first."""
    first_token: int
    """The target's own first token."""
    first_logprob: float
    """ln p of ``first_token``."""

    @property
    def is_finite(self) -> bool:
        """False if the model gave a NaN or an infinity."""
        return math.isfinite(self.mean_logprob)


@dataclass(frozen=True, slots=True)
class _Pair:
    place: int
    prompt: list[int]
    target: list[int]

    @property
    def ids(self) -> list[int]:
        """Input ids. The last token is left out, because its prediction is not needed."""
        return self.prompt + self.target[:-1]


@dataclass(frozen=True, slots=True)
class _Row:
    ids: list[int]
    pairs: list[_Pair]
    """The pairs whose ids begin the row's ids."""


def score_targets(
    model: nn.Module,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str | int]],
    *,
    batch_size: int = 32,
    on_rows: OnRows = lambda num_rows: None,
) -> list[TargetScore]:
    """Score each (prompt, target). The target's ids are appended to the prompt's; the two are never encoded together.

    A target that is a number is the id of a single token.
    Raises InvalidPrompt if a prompt has no tokens, or does not fit into the model's context together with its target.
    """
    ready = []
    for place, (prompt, target) in enumerate(pairs):
        target_tokens = [target] if isinstance(target, int) else target_ids(tokenizer, prompt, target)
        ready.append(_Pair(place, prompt_ids(model, tokenizer, prompt, num_new=len(target_tokens)), target_tokens))
    rows = _shared_rows(ready)
    scores: dict[int, TargetScore] = {}
    for batch in batches_by_length([len(row.ids) for row in rows], batch_size):
        scores.update(_score_batch(model, [rows[i] for i in batch]))
        on_rows(sum(len(rows[i].pairs) for i in batch))
    return [scores[place] for place in range(len(pairs))]


def _shared_rows(pairs: Sequence[_Pair]) -> list[_Row]:
    """Return the fewest rows that hold all pairs.

    In sorted order, ids that begin any later row also begin the next one.
    """
    rows: list[_Row] = []
    for pair in sorted(pairs, key=lambda pair: pair.ids, reverse=True):
        ids = pair.ids
        if rows and rows[-1].ids[: len(ids)] == ids:
            rows[-1].pairs.append(pair)
        else:
            rows.append(_Row(ids, [pair]))
    return rows


def prompt_ids(model: nn.Module, tokenizer: Any, prompt: str, *, num_new: int) -> list[int]:
    """Tokenise a prompt, leaving room for ``num_new`` tokens. Raises InvalidPrompt if it is empty or too long."""
    ids: list[int] = tokenizer(prompt, verbose=False)["input_ids"]
    limit = max_positions(model)
    if not ids:
        raise InvalidPrompt(f"the prompt {prompt!r} has no tokens: give some text to go on from")
    if len(ids) + num_new > limit:
        raise InvalidPrompt(
            f"the prompt {prompt[:60]!r}… has {len(ids)} tokens and {num_new} are to follow; the model takes {limit}: "
            "shorten it"
        )
    return ids


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield indices of rows of similar length. The longest come first, so memory runs out immediately or never."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def pad_right(rows: Sequence[Sequence[int]], *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids [R, T] padded with 0 on the right, and a mask that is 1 at tokens."""
    longest = max(len(row) for row in rows)
    ids_RT = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    lengths_R = torch.tensor([len(row) for row in rows], device=device)
    return ids_RT, (torch.arange(longest, device=device) < lengths_R[:, None]).long()


def final_hidden(model: nn.Module, ids_RT: Tensor, mask_RT: Tensor) -> Tensor:
    """Return the input of the vocabulary head [R, T, H]: the model's last hidden states, after the final norm."""
    base: nn.Module = model.base_model  # type: ignore[assignment]
    output = base(input_ids=ids_RT, attention_mask=mask_RT, use_cache=False)
    hidden: Tensor = output.last_hidden_state
    return hidden


def head_of(model: nn.Module) -> nn.Module:
    """Return the vocabulary head."""
    head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]
    return head


def max_positions(model: nn.Module) -> int:
    """Return the length of the model's context in tokens."""
    return int(model.config.max_position_embeddings)  # type: ignore[union-attr,arg-type]


@torch.no_grad()
def _score_batch(model: nn.Module, rows: Sequence[_Row]) -> Iterator[tuple[int, TargetScore]]:
    device = next(model.parameters()).device
    ids_RT, mask_RT = pad_right([row.ids for row in rows], device=device)
    hidden_RTH = final_hidden(model, ids_RT, mask_RT)
    asked = [(r, pair) for r, row in enumerate(rows) for pair in row.pairs]
    row_P = [r for r, pair in asked for _ in pair.target]
    place_P = [len(pair.prompt) - 1 + k for _, pair in asked for k in range(len(pair.target))]
    logits_PV = head_of(model)(hidden_RTH[row_P, place_P])
    logits_PV = logits_PV.to(torch.promote_types(logits_PV.dtype, torch.float32))
    wanted_P1 = torch.tensor([[token] for _, pair in asked for token in pair.target], device=device)
    chosen_P1 = logits_PV.gather(1, wanted_P1)
    logprobs = (chosen_P1 - logits_PV.logsumexp(1, keepdim=True)).squeeze(1).tolist()
    ranks = ((logits_PV > chosen_P1).sum(1) + 1).tolist()
    choices = logits_PV.argmax(1).tolist()
    start = 0
    for _, pair in asked:
        span = slice(start, start + len(pair.target))
        start = span.stop
        yield pair.place, _score(pair, logprobs[span], choices[span], rank=ranks[span.start])


def _score(pair: _Pair, logprobs: Sequence[float], choices: Sequence[int], *, rank: int) -> TargetScore:
    is_finite = all(map(math.isfinite, logprobs))
    total = math.fsum(logprobs) if is_finite else math.nan
    return TargetScore(
        mean_logprob=total / len(pair.target),
        probability=math.exp(total),
        rank=rank,
        greedy_match=is_finite and list(choices) == pair.target,
        num_tokens=len(pair.target),
        first_choice=choices[0],
        first_token=pair.target[0],
        first_logprob=logprobs[0],
    )
