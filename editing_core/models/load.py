"""Loads a model of a known family with its tokenizer and fingerprint. Reads only safetensors, runs no remote code."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from editing_core.errors import InvalidSettings
from editing_core.models.families.family import Family
from editing_core.models.families.registry import family_of
from editing_core.models.location import model_fingerprint, resolve_model_path
from editing_core.models.memory import GIGA, free_bytes, require_room, weights_bytes
from editing_core.precision import default_model_dtype

LOGGER = logging.getLogger(__name__)
SPREAD = "auto"
"""The device name that means all CUDA devices."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that is ready for questions and edits. Its weights are never written."""

    model: nn.Module
    """The model in eval mode. Its parameters have no gradients."""
    tokenizer: Any
    family: Family
    source: str
    """The model's name as the user gave it."""
    path: Path
    fingerprint: str
    max_positions: int
    """Length of the longest row in tokens."""

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @property
    def vocabulary_size(self) -> int:
        """Output width of the vocabulary head."""
        return int(self.family.head_module(self.model).get_parameter("weight").shape[0])

    @property
    def device(self) -> torch.device:
        """The device of the weights. If there are several, the one with the embeddings, where answers are returned."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model's computation."""
        return next(self.model.parameters()).dtype


def load_model(
    source: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    free: Callable[[torch.device], int | None] = free_bytes,
) -> LoadedModel:
    """Load a demo name, folder or Hugging Face id, tensor by tensor onto its device, without a second copy.

    ``device`` None: CUDA if available, else the CPU. ``auto``: spread over all CUDA devices, for a model that does not
    fit on one. ``dtype`` None: the checkpoint's on CUDA, float32 on the CPU. ``free`` returns the free bytes of a
    device, or None if they are unknown. Raises UnknownModelFamily and InvalidSettings; the latter also if the weights
    do not fit into the free memory.
    """
    path = resolve_model_path(source)
    family = family_at(path)
    devices = devices_named(device)
    outline = skeleton(path, dtype_named(dtype, devices[0]))
    needed = weights_bytes(outline)
    require_room(source, needed, devices, free=free)
    LOGGER.info("loading %s: %.2f GB of weights onto %s", source, needed / GIGA, ", ".join(map(str, devices)))
    transformers_logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=outline.dtype,
        device_map=_device_map(devices),
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    _require_on_devices(model, source)
    return wrap_model(
        model,
        AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True),
        family=family,
        source=source,
        path=path,
        fingerprint=model_fingerprint(path),
    )


def wrap_model(model: Any, tokenizer: Any, *, family: Family, source: str, path: Path, fingerprint: str) -> LoadedModel:
    """Wrap a model in memory as a LoadedModel: eval mode, no gradients, a usable tokenizer."""
    if not tokenizer.is_fast:
        raise InvalidSettings(f"model {source!r} has no fast tokenizer: Errata needs its offsets to find the subject")
    model.eval().requires_grad_(False)
    # cuDNN's attention makes a plan for each new shape, which takes longer than running a prompt of that shape.
    torch.backends.cuda.enable_cudnn_sdp(False)
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


def skeleton(path: Path, dtype: torch.dtype | None) -> Any:
    """Return the model of a folder on the meta device, without weights. ``dtype`` None: the configuration's."""
    config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype or config.dtype or torch.float32)


def family_at(path: Path) -> Family:
    """Return the family of the checkpoint in a folder. Raises UnknownModelFamily."""
    return family_of(json.loads((path / "config.json").read_text()).get("model_type", "none"))


def devices_named(name: str | None) -> list[torch.device]:
    """Return the devices for the weights, by the name that ``load_model`` takes. Raises InvalidSettings."""
    if name == SPREAD and torch.cuda.is_available():
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    if name in {None, SPREAD}:
        return [torch.device("cuda" if torch.cuda.is_available() else "cpu")]
    return [_device(name)]


def _device_map(devices: Sequence[torch.device]) -> Any:
    """Put all blocks on one device, or as many on each device as fit. Blocks never go to the CPU or the disk."""
    return {"": devices[0]} if len(devices) == 1 else SPREAD


def _require_on_devices(model: Any, source: str) -> None:
    """Refuse a device map that offloads parts, because a view cannot replace a weight that each call loads."""
    elsewhere = [part for part, where in getattr(model, "hf_device_map", {}).items() if where in {"disk", "meta"}]
    on_cpu = [part for part, where in getattr(model, "hf_device_map", {}).items() if where == "cpu"]
    if elsewhere or (on_cpu and len(set(model.hf_device_map.values())) > 1):
        raise InvalidSettings(
            f"model {source!r} does not fit onto the CUDA devices: {', '.join([*elsewhere, *on_cpu][:5])} would have"
            " to be loaded for each call; free memory on them or choose a smaller dtype"
        )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidSettings(f"device {name!r} is not one that torch knows: {error}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidSettings(f"device {name!r}: torch finds no CUDA device here; use cpu")
    return device


def dtype_named(name: str | None, device: torch.device) -> torch.dtype | None:
    """Return the dtype in which ``load_model`` loads; None means the checkpoint's own. Raises InvalidSettings."""
    if name is None:
        return default_model_dtype(device)
    if name not in DTYPES:
        raise InvalidSettings(f"dtype {name!r} is not one of {', '.join(DTYPES)}")
    return DTYPES[name]
