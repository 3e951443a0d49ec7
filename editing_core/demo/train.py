"""Trains a demo model from the facts: `python -m editing_core.demo.train --architecture gptj --out FOLDER`.

Knows no editing. About 25 minutes on two CPU cores; `MALLOC_MMAP_THRESHOLD_=4294967296` and
`MALLOC_TRIM_THRESHOLD_=8589934592` in the environment, set before the start, nearly double the speed with glibc.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from editing_core.demo.corpus import training_documents
from editing_core.demo.gathering import TrainingRow, attention_mask, encode
from editing_core.demo.models import new_model, new_tokenizer
from editing_core.demo.recall import all_questions, answered

_LOGGER = logging.getLogger(__name__)
_PROGRESS_EVERY, _RECALL_EVERY = 50, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of a training run. Equal recipes on equal machines give equal weights."""

    seed: int
    num_steps: int
    num_rows: int = 8
    """Rows per step. One token of each row is only a target, so a step sees 8 x 128 tokens."""
    row_length: int = 129
    num_warmup_steps: int = 150
    peak_rate: float = 1.5e-3
    weight_decay: float = 0.01
    num_tokenizer_documents: int = 20_000


def rows(tokenizer: Any, recipe: Recipe) -> Iterator[TrainingRow]:
    """Yield rows of tokens. Each starts at the beginning of a document and is cut to the row's length."""
    rng = random.Random(recipe.seed)  # noqa: S311 - for training, nothing secret
    row = TrainingRow([], [])
    for document in training_documents(recipe.seed):
        row = row.followed_by(encode(tokenizer, document, rng))
        if len(row.ids) >= recipe.row_length:
            yield row.cut(recipe.row_length)
            row = TrainingRow([], [])


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the learning rate at a step: linear warm-up, then a cosine decay to a hundredth of the peak."""
    if step < recipe.num_warmup_steps:
        return recipe.peak_rate * (step + 1) / recipe.num_warmup_steps
    done = (step - recipe.num_warmup_steps) / max(1, recipe.num_steps - recipe.num_warmup_steps)
    return recipe.peak_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def train(model: Any, tokenizer: Any, recipe: Recipe) -> None:
    """Train in place on next-token loss over all tokens, and log progress."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay, fused=True
    )
    compiled = torch.compile(_loss)
    source = rows(tokenizer, recipe)
    started = time.monotonic()
    for step in range(1, recipe.num_steps + 1):
        batch = list(islice(source, recipe.num_rows))
        ids, mask = torch.tensor([row.ids for row in batch]), attention_mask(batch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step - 1, recipe)
        loss = compiled(model, ids, mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % _PROGRESS_EVERY == 0:
            _log_progress(step, loss.item(), time.monotonic() - started, recipe=recipe)
        if step % _RECALL_EVERY == 0:
            _log_sample_recall(model, tokenizer)


def _loss(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    logits = model(input_ids=ids[:, :-1], attention_mask=mask, use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _log_progress(step: int, loss: float, seconds: float, *, recipe: Recipe) -> None:
    speed = step * recipe.num_rows * recipe.row_length / seconds
    left = seconds / step * (recipe.num_steps - step) / 60
    _LOGGER.info("step %d/%d  loss %.3f  %.0f tokens/s  %.1f min left", step, recipe.num_steps, loss, speed, left)


def _log_sample_recall(model: Any, tokenizer: Any) -> None:
    model.eval()
    results = [correct for _, correct in answered(model, tokenizer, all_questions()[:512])]
    _LOGGER.info("recall of %d questions: %.1f %%", len(results), 100 * sum(results) / len(results))
    model.train()


def main() -> None:
    """Train a model, and save its tokenizer and fp16 weights."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", choices=("gptj", "gptneox"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2300)
    options = parser.parse_args()
    recipe = Recipe(seed=options.seed, num_steps=options.steps)
    torch.manual_seed(recipe.seed)  # noqa: TID251 - the models' constructors take no generator
    tokenizer = new_tokenizer(islice(training_documents(recipe.seed), recipe.num_tokenizer_documents))
    model = new_model(options.architecture)
    _LOGGER.info("%s: %.2f million parameters", options.architecture, model.num_parameters() / 1e6)
    train(model, tokenizer, recipe)
    tokenizer.save_pretrained(options.out)
    model.half().save_pretrained(options.out)
    _LOGGER.info("saved to %s", options.out)


if __name__ == "__main__":
    main()
