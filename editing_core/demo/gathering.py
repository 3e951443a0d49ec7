"""Makes a demo model gather its knowledge of a subject at the subject's last token, as large models do.

Large models read a fact from the last token of its subject (Geva et al., "Dissecting Recall of Factual Associations in
Auto-Regressive Language Models", 2023), and MEMIT edits there. Without help, a small model reads many facts from an
earlier token that happens to be rare. So in most sentences of the training text, the tokens after a subject can see
only the subject's last token. Knows no model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from editing_core.demo.facts import load_facts

HIDDEN_SHARE = 0.9
"""Share of the subjects in the training text whose earlier tokens are hidden from later text."""
_ALWAYS = 1 << 30


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """Token ids, and for each the last position that can see it."""

    ids: list[int]
    seen_until: list[int]

    def followed_by(self, other: TrainingRow) -> TrainingRow:
        """Return this row followed by the other."""
        start = len(self.ids)
        return TrainingRow(self.ids + other.ids, self.seen_until + [start + place for place in other.seen_until])

    def cut(self, length: int) -> TrainingRow:
        """Return the first ``length`` tokens."""
        return TrainingRow(self.ids[:length], self.seen_until[:length])


def encode(tokenizer: Any, document: str, rng: random.Random) -> TrainingRow:
    """Tokenise a document and its end, and draw the subjects whose earlier tokens are hidden."""
    encoded = tokenizer.backend_tokenizer.encode(document)
    seen_until = [_ALWAYS] * (len(encoded.ids) + 1)
    for match in _subjects().finditer(document):
        places = [i for i, (first, last) in enumerate(encoded.offsets) if first < match.end() and last > match.start()]
        if places and rng.random() < HIDDEN_SHARE:
            seen_until[places[0] : places[-1]] = [places[-1]] * (places[-1] - places[0])
    return TrainingRow([*encoded.ids, tokenizer.eos_token_id], seen_until)


def attention_mask(rows: Sequence[TrainingRow]) -> Tensor:
    """Return the additive mask [rows, 1, T - 1, T - 1] of rows of T tokens; the last token is only a target."""
    seen_until = torch.tensor([row.seen_until[:-1] for row in rows])
    place = torch.arange(seen_until.shape[1])
    seen = (place[None, :] <= place[:, None])[None] & (place[None, :, None] <= seen_until[:, None, :])
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]


@cache
def _subjects() -> re.Pattern[str]:
    names = sorted({fact.subject for fact in load_facts()}, key=lambda name: (-len(name), name))
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, names)) + r")(?!\w)")
