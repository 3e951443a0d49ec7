"""Selects each request's next token from the logits and decides whether the answer ends there.

It depends neither on places nor on the model, except for the tokens that end a text.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: N rows, S rows that want log-probabilities, V vocabulary.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from service.generation.decoding.requests import FinishReason, GenerationEntry, GenerationResult, TokenLogprobs
from service.generation.decoding.sampling import Draw, next_tokens
from service.generation.decoding.score import model_logprobs
from service.generation.errors import GenerationFailed


class TokenSelector:
    """Selects tokens for the requests of one version."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._end_ids = end_token_ids(model, tokenizer)

    def text_of(self, ids: Sequence[int]) -> str:
        """Return the tokens as text, without special tokens."""
        text: str = self._backend.decode(ids, skip_special_tokens=True)
        return text

    def select(self, entries: Sequence[GenerationEntry], logits_NV: Tensor) -> list[GenerationEntry]:
        """Add each request's next token. Finishes the answers that end with it and returns their entries."""
        draws = [
            Draw(row, entry.request.temperature, entry.request.top_p, entry.generator)
            for row, entry in enumerate(entries)
            if entry.generator is not None
        ]
        tokens, finite = next_tokens(logits_NV, draws)
        logprobs = _logprobs(entries, tokens, logits_NV)
        done: list[GenerationEntry] = []
        for row, entry in enumerate(entries):
            if not finite[row]:
                entry.fail(GenerationFailed("the model's logits are not finite: this version cannot answer the prompt"))
                done.append(entry)
            elif reason := self._add(entry, tokens[row], logprobs.get(row)):
                self._finish(entry, reason)
                done.append(entry)
            elif entry.listener is not None:
                entry.notify()
        return done

    def _add(self, entry: GenerationEntry, token: int, logprobs: TokenLogprobs | None) -> FinishReason | None:
        if token in self._end_ids:
            return "stop"
        entry.ids.append(token)
        if logprobs is not None:
            entry.logprobs.append(logprobs)
        if entry.text is not None:
            entry.text.add(token)
            if entry.text.stopped:
                return "stop"
        return "length" if len(entry.ids) >= entry.request.max_new_tokens else None

    def _finish(self, entry: GenerationEntry, reason: FinishReason) -> None:
        if entry.text is None:
            text = self.text_of(entry.ids)
        else:
            entry.text.finish()
            entry.notify(everything=True)
            text = entry.text.text
            reason = "stop" if entry.text.stopped else reason
        entry.finish(
            GenerationResult(ids=tuple(entry.ids), text=text, finish_reason=reason, logprobs=tuple(entry.logprobs))
        )


def end_token_ids(model: nn.Module, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer, from the model and the tokenizer."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(int(item) for item in (*listed, tokenizer.eos_token_id) if item is not None)


def _logprobs(entries: Sequence[GenerationEntry], tokens: Sequence[int], logits_NV: Tensor) -> dict[int, TokenLogprobs]:
    """Return the log-probabilities at the selected token, by row, for the requests that ask for them."""
    num_wanted = {row: n for row, entry in enumerate(entries) if (n := entry.request.num_logprobs) is not None}
    if not num_wanted:
        return {}
    rows = list(num_wanted)
    logprobs_SV = model_logprobs(logits_NV[rows])
    chosen = logprobs_SV[range(len(rows)), [tokens[row] for row in rows]].tolist()
    top = logprobs_SV.topk(min(max(1, *num_wanted.values(), 1), logprobs_SV.shape[1]))
    likeliest = [list(zip(*pair, strict=True)) for pair in zip(top.indices.tolist(), top.values.tolist(), strict=True)]
    return {
        row: TokenLogprobs(token=tokens[row], logprob=chosen[i], top=tuple(likeliest[i][: num_wanted[row]]))
        for i, row in enumerate(rows)
    }
