"""A candidate made of changed weights, and edits that ask for what it happens to answer."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from editing_core.asking.continuations import continue_greedily
from editing_core.asking.perplexity import perplexity
from editing_core.asking.probes import build_probes
from editing_core.checks.checks import CheckLimits, CheckReport, run_checks
from editing_core.edits import AcceptedEdit, Edit
from editing_core.models.views import make_view
from tests.support.tiny_models import TEXT, TinyFamily, tiny_tokenizer, wordy_model

NAMES = {"gptj": "transformer.h.1.mlp.fc_out.weight", "gpt_neox": "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"}
PROMPT = "The city of {} is"
LOOSE = CheckLimits(
    min_reliability=0.7,
    min_specificity=0.0,
    min_earlier_kept=0.9,
    max_drift=100.0,
    max_perplexity_rise=1e6,
    max_delta_norm=1.0,
    max_delta_per_edit=1.0,
)
HELDOUT = tuple(tiny_tokenizer()(" ".join(TEXT))["input_ids"])


@cache
def original_of(family: TinyFamily) -> Any:
    return wordy_model(family)


def changed(family: TinyFamily, weight: Tensor) -> nn.Module:
    return make_view(original_of(family), {NAMES[family]: weight})


@cache
def candidate_of(family: TinyFamily) -> nn.Module:
    held = original_of(family).get_parameter(NAMES[family])
    return changed(family, held + 0.1 * torch.randn(held.shape, generator=torch.Generator().manual_seed(0)))


def first_words(model: nn.Module, prompts: list[str]) -> list[str]:
    return [text.strip() for text in continue_greedily(model, tiny_tokenizer(), prompts, max_new_tokens=1)]


@cache
def changed_answers(family: TinyFamily) -> tuple[tuple[str, str, str], ...]:
    """Subject, the original's word and the candidate's other word."""
    subjects = [f"number {n}" for n in range(80)]
    prompts = [PROMPT.replace("{}", subject) for subject in subjects]
    before, after = (first_words(model, prompts) for model in (original_of(family), candidate_of(family)))
    both = zip(subjects, before, after, strict=True)
    return tuple((s, b, a) for s, b, a in both if a != b and min(len(a), len(b)) > 1 and (a + b).isalpha())


@cache
def kept_answers(family: TinyFamily) -> tuple[tuple[str, str], ...]:
    """Subject and the word that both models give."""
    subjects = [f"number {n}" for n in range(80)]
    prompts = [PROMPT.replace("{}", subject) for subject in subjects]
    before, after = (first_words(model, prompts) for model in (original_of(family), candidate_of(family)))
    return tuple((s, a) for s, b, a in zip(subjects, before, after, strict=True) if a == b and a.isalpha())


def accepted(subject: str, target_new: str, **fields: Any) -> AcceptedEdit:
    edit = Edit(subject=subject, prompt=PROMPT, target_new=target_new, relation="city", **fields)
    return AcceptedEdit(id=f"e-{subject}", edit=edit, batch="b", acceptance=1, created="2024-05-01T10:00:00Z")


def check(family: TinyFamily, new: list[AcceptedEdit], **options: Any) -> CheckReport:
    original = original_of(family)
    settings: dict[str, Any] = {
        "original": original,
        "parent": original,
        "candidate": candidate_of(family),
        "tokenizer": tiny_tokenizer(),
        "live": new,
        "new": new,
        "probes": build_probes(original, [HELDOUT[i : i + 32] for i in range(0, 160, 8)]),
        "heldout_ids": HELDOUT,
        "base_perplexity": perplexity(original, HELDOUT),
        "delta_norms": {NAMES[family]: 0.3},
        "limits": LOOSE,
        "seed": 0,
    }
    return run_checks(**{**settings, **options})
