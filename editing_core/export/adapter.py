"""A version's change as a PEFT LoRA adapter: two files, written without the library that reads them.

Only the edited layers are named, by their full names, so that no other layer is touched. Alpha equals the rank: the
factors' product is the change itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from editing_core.export.checkpoint.tensor_files import METADATA
from editing_core.export.delta import Factors

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
"""What the library puts before a module's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """The factors of every edited layer by its parameter's name, brought to one rank."""

    factors: dict[str, Factors]
    is_transposed: bool
    """The layers store their weights [in, out] (Conv1D)."""

    @property
    def rank(self) -> int:
        """The largest that a layer has; those of the others are filled up with zeros."""
        return max(factors.rank for factors in self.factors.values())

    @property
    def is_exact(self) -> bool:
        """Whether no layer needs more than it has."""
        return all(factors.needed_rank <= factors.rank for factors in self.factors.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all factors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """What the adapter's file holds."""
        found = {}
        for name, factors in self.factors.items():
            module, missing = PREFIX + name.removesuffix(".weight"), self.rank - factors.rank
            found[f"{module}.lora_A.weight"] = torch.nn.functional.pad(factors.a_RM, (0, 0, 0, missing))
            found[f"{module}.lora_B.weight"] = torch.nn.functional.pad(factors.b_HR, (0, missing))
        return found

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Have the model compute W x + B (A x), the factors in float32, as PEFT does."""
        with ExitStack() as hooks:
            for name, factors in self.factors.items():
                module = model.get_submodule(name.removesuffix(".weight"))
                add = partial(_add, factors)
                hooks.callback(module.register_forward_hook(add).remove)
            yield

    def config(self, *, base: str | None, revision: str | None) -> dict[str, Any]:
        """``adapter_config.json``: plain LoRA on the edited layers; ``base``: an id on the Hub."""
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "revision": revision,
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": self.rank,
            "lora_dropout": 0.0,
            "use_rslora": False,
            "use_dora": False,
            "bias": "none",
            "fan_in_fan_out": self.is_transposed,
            "init_lora_weights": True,
            "target_modules": sorted(name.removesuffix(".weight") for name in self.factors),
            "modules_to_save": None,
            "rank_pattern": {},
            "alpha_pattern": {},
        }


def _add(factors: Factors, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    a_RM, b_HR = (factor.to(output.device) for factor in (factors.a_RM, factors.b_HR))
    return (output + inputs[0].to(a_RM.dtype) @ a_RM.T @ b_HR.T).to(output.dtype)


def write_adapter(adapter: Adapter, folder: Path, *, base: str | None, revision: str | None) -> None:
    """Fill the folder."""
    save_file(adapter.tensors(), folder / WEIGHTS, metadata=METADATA)
    config = adapter.config(base=base, revision=revision)
    (folder / CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
