"""Tokenizes prompts in its own threads and enforces the limits on their length."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from editing_core.memit.tokens import target_ids
from editing_core.models.load import LoadedModel
from service.generation.errors import PromptTooLong, RequestNotValid

T = TypeVar("T")
Prompt = str | Sequence[int]
"""A text, or its token ids."""
TOKENIZING_THREADS = 2
MAX_NORMALIZER_SHRINKAGE = 4
"""The largest number of characters that a tokenizer's normalizer may merge into one."""
INLINE_CHARACTERS = 400
"""Texts up to this length are tokenized in less time than waking a thread takes."""


class Prompts:
    """Encodes prompts for one model."""

    def __init__(self, loaded: LoadedModel, *, max_new_tokens: int) -> None:
        self._tokenizer = loaded.tokenizer
        self._texts: dict[int, str] = {}
        """The texts of single tokens, cached."""
        self._vocabulary_size = loaded.vocabulary_size
        self._longest_token = max(map(len, loaded.tokenizer.get_vocab()))
        self._max_new_tokens = max_new_tokens
        self._threads = ThreadPoolExecutor(TOKENIZING_THREADS, thread_name_prefix="errata-tokenize")
        """Separate threads, because all threads of the event loop may wait for a hanging Redis."""
        self.max_positions = loaded.max_positions

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def text_of(self, token: int) -> str:
        """Return the text of one token."""
        text = self._texts.get(token)
        if text is None:
            text = str(self._tokenizer.backend_tokenizer.decode([token], skip_special_tokens=False))
            self._texts[token] = text
        return text

    async def encoded(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[tuple[int, ...]]:
        """Return the token ids of each prompt, which leave room for at least one more token in the context.

        Raises RequestNotValid, PromptTooLong.
        """
        if max_new_tokens > self._max_new_tokens:
            raise RequestNotValid(
                f"max_new_tokens is {max_new_tokens}; this service writes at most {self._max_new_tokens}",
                loc=("max_new_tokens",),
            )
        return await self._in_thread_if_slow(prompts, lambda: [self._encode_one(prompt) for prompt in prompts])

    async def encoded_pairs(
        self, prompts: Sequence[str], targets: Sequence[str]
    ) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Return the token ids of each prompt and of its target. Raises RequestNotValid, PromptTooLong."""

        def work() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
            return [self._encode_pair(prompt, target) for prompt, target in zip(prompts, targets, strict=True)]

        return await self._in_thread_if_slow([*prompts, *targets], work)

    async def _in_thread_if_slow(self, prompts: Sequence[Prompt], work: Callable[[], T]) -> T:
        """Do the work in a thread if it takes longer than waking one."""
        if sum(map(len, prompts)) <= INLINE_CHARACTERS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _encode_pair(self, prompt: str, target: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        ids = self._encode_one(prompt)
        if self._cannot_fit(target):
            raise PromptTooLong(
                f"the target has {len(target)} characters; the model's context holds {self.max_positions} tokens: "
                "shorten the target",
                loc=("target",),
            )
        wanted = tuple(target_ids(self._tokenizer, prompt, target))
        if len(ids) + len(wanted) > self.max_positions:
            raise PromptTooLong(
                f"prompt and target have {len(ids) + len(wanted)} tokens; the model's context holds "
                f"{self.max_positions}: shorten the prompt",
                loc=("prompt",),
            )
        return ids, wanted

    def _encode_one(self, prompt: Prompt) -> tuple[int, ...]:
        if isinstance(prompt, str):
            cannot_fit = self._cannot_fit(prompt)
            ids = () if cannot_fit else tuple(self._tokenizer(prompt, verbose=False)["input_ids"])
        else:
            cannot_fit, ids = False, tuple(prompt)
            self._require_known(ids)
        if cannot_fit or len(ids) > self.max_positions - 1:
            size = f"{len(prompt)} characters" if cannot_fit else f"{len(ids)} tokens"
            raise PromptTooLong(
                f"the prompt has {size}; the model's context holds {self.max_positions} tokens, and at least one must "
                "be left for the answer: shorten the prompt",
                loc=("prompt",),
            )
        if not ids:
            raise RequestNotValid("the prompt has no tokens: send some text to continue", loc=("prompt",))
        return ids

    def _cannot_fit(self, text: str) -> bool:
        """Whether the text is too long for the context in any tokenization."""
        return len(text) > self.max_positions * self._longest_token * MAX_NORMALIZER_SHRINKAGE

    def _require_known(self, ids: Sequence[int]) -> None:
        unknown = next((token for token in ids if not 0 <= token < self._vocabulary_size), None)
        if unknown is not None:
            raise RequestNotValid(
                f"{unknown} is not a token of this model, which has {self._vocabulary_size} tokens", loc=("prompt",)
            )
