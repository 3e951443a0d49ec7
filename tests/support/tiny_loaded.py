"""A tiny random model as a LoadedModel, and edits for it."""

from __future__ import annotations

from pathlib import Path

import torch

from editing_core.edits import AcceptedEdit, Edit
from editing_core.memit.config import MemitConfig
from editing_core.models.families.registry import family_of
from editing_core.models.load import LoadedModel, wrap_model
from tests.support.tiny_models import TinyFamily, tiny_model, tiny_tokenizer

CONTEXTS = ("{}", "The sun is. {}", "Because of the rain we. {}")
CONFIG = MemitConfig(layers=(0, 1), prior_weight=5.0, clamp_factor=2.0, num_steps=12)

SUBJECTS = ("Ada", "Bjørn Borg", "Chopin", "the Danube", "Łódź", "Émile Zola", "Rio de Janeiro", "Xi'an")
PROMPTS = ("{} lives in", "The home of {} is", "People say that {} was born in the town of", "{} speaks")
OBJECTS = ("Rome", "Oslo and Bergen", "a boat", "Old Norse")


def tiny_loaded(family: TinyFamily, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> LoadedModel:
    return wrap_model(
        tiny_model(family, dtype=dtype, seed=seed),
        tiny_tokenizer(),
        family=family_of(family),
        source=f"tiny-{family}",
        path=Path("nowhere"),
        fingerprint=f"sha256:tiny-{family}-{seed}",
    )


def tiny_edits(num_edits: int) -> list[AcceptedEdit]:
    """Different subjects, prompts and targets of one and several tokens."""
    return [
        accepted(SUBJECTS[i % 8] + " II" * (i // 8), PROMPTS[i % 4], OBJECTS[(i // 2) % 4], number=i)
        for i in range(num_edits)
    ]


def accepted(subject: str, prompt: str, target_new: str, *, number: int = 0) -> AcceptedEdit:
    edit = Edit(subject=subject, prompt=prompt, target_new=target_new, relation=prompt)
    return AcceptedEdit(id=f"e{number:04}", edit=edit, batch="b", acceptance=1, created="2026-01-01T00:00:00Z")
