"""Loads a model of a known family, with its tokenizer and fingerprint; safetensors only, no remote code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from editing_core.errors import InvalidSettings
from editing_core.models.families.registry import family_of
from editing_core.models.family import Family
from editing_core.models.location import model_fingerprint, resolve_model_path

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model ready to be asked and edited; its weights are never written to."""

    model: nn.Module
    """In eval mode, parameters without gradients."""
    tokenizer: Any
    family: Family
    source: str
    """As the user named it."""
    path: Path
    fingerprint: str
    max_positions: int
    """Longest row in tokens."""

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @property
    def vocabulary_size(self) -> int:
        """Width of what the vocabulary head answers."""
        return int(self.family.head_module(self.model).get_parameter("weight").shape[0])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the model computes in."""
        return next(self.model.parameters()).dtype


def load_model(source: str, *, device: str | None = None, dtype: str | None = None) -> LoadedModel:
    """Load a demo name, folder or Hugging Face id.

    ``device`` None: cuda if there, else cpu. ``dtype`` None: the checkpoint's on CUDA, float32 on CPU. Raises
    UnknownModelFamily and InvalidSettings.
    """
    path = resolve_model_path(source)
    family = family_of(json.loads((path / "config.json").read_text()).get("model_type", "none"))
    where = _device(device)
    transformers_logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=_dtype(dtype, where), use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    return wrap_model(
        model.to(where),
        AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True),
        family=family,
        source=source,
        path=path,
        fingerprint=model_fingerprint(path),
    )


def wrap_model(model: Any, tokenizer: Any, *, family: Family, source: str, path: Path, fingerprint: str) -> LoadedModel:
    """A model that is already in memory as a LoadedModel: eval mode, no gradients, a tokenizer that can be used."""
    if not tokenizer.is_fast:
        raise InvalidSettings(f"model {source!r} has no fast tokenizer: Errata needs its offsets to find the subject")
    model.eval().requires_grad_(False)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]  # GPT-J would add token types to its embeddings
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        family=family,
        source=source,
        path=path,
        fingerprint=fingerprint,
        max_positions=int(model.config.max_position_embeddings),
    )


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidSettings(f"device {name!r} is not one that torch knows: {error}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidSettings(f"device {name!r}: torch finds no CUDA device here; use cpu")
    return device


def _dtype(name: str | None, device: torch.device) -> torch.dtype | str:
    if name is None:
        return torch.float32 if device.type == "cpu" else "auto"
    if name not in DTYPES:
        raise InvalidSettings(f"dtype {name!r} is not one of {', '.join(DTYPES)}")
    return DTYPES[name]
