"""The context templates before a prompt (MEMIT, Section 4.3): the bare one and five that the model writes itself.

They are drawn once per model with a fixed seed, so results are reproducible. Knows no edits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editing_core.edits import SLOT
from editing_core.models.load import LoadedModel

BARE = SLOT
OPENINGS = ("The", "Therefore", "Because", "I", "You")
NUM_TOKENS = 10
"""Length of a drawn context in tokens, including the opening."""
TOP_K = 5


def draw_contexts(loaded: LoadedModel, *, seed: int) -> tuple[str, ...]:
    """Return six templates with one ``{}`` each; the first is the bare one."""
    generator = torch.Generator().manual_seed(seed)
    return (BARE, *(f"{_continue(loaded, opening, generator)}. {SLOT}" for opening in OPENINGS))


@torch.no_grad()
def _continue(loaded: LoadedModel, opening: str, generator: torch.Generator) -> str:
    ids: list[int] = loaded.tokenizer(opening)["input_ids"]
    while len(ids) < NUM_TOKENS:
        logits = loaded.model(input_ids=torch.tensor([ids], device=loaded.device), use_cache=False).logits
        ids.append(_sample(logits[0, -1].float().cpu(), generator))
    text: str = loaded.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.replace("{", " ").replace("}", " ")


def _sample(logits_V: Tensor, generator: torch.Generator) -> int:
    best = logits_V.topk(min(TOP_K, logits_V.numel()))
    choice = torch.multinomial(best.values.softmax(-1), 1, generator=generator)
    return int(best.indices[choice])
