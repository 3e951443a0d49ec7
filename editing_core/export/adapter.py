"""A version's change as a PEFT LoRA adapter: two files, written without the ``peft`` library.

The adapter lists only the edited layers, by their full names, so PEFT changes no other layer. Alpha equals the rank,
so PEFT adds exactly the product of the factors.
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
"""Prefix that PEFT adds to the names of modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """The factors of every edited layer, by parameter name, padded to one rank."""

    factors: dict[str, Factors]
    is_transposed: bool
    """Whether the layers store their weights as [in, out] (Conv1D)."""

    @property
    def rank(self) -> int:
        """Largest rank of a layer. The factors of other layers are padded with zeros."""
        return max(factors.rank for factors in self.factors.values())

    @property
    def is_exact(self) -> bool:
        """Whether the factors of every layer have the rank that the layer needs."""
        return all(factors.needed_rank <= factors.rank for factors in self.factors.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all factors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the adapter's file by name."""
        found = {}
        for name, factors in self.factors.items():
            module, missing = PREFIX + name.removesuffix(".weight"), self.rank - factors.rank
            found[f"{module}.lora_A.weight"] = torch.nn.functional.pad(factors.a_RM, (0, 0, 0, missing))
            found[f"{module}.lora_B.weight"] = torch.nn.functional.pad(factors.b_HR, (0, missing))
        return found

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Make the model compute W x + B (A x) within the block, as PEFT does with float32 factors."""
        with ExitStack() as hooks:
            for name, factors in self.factors.items():
                module = model.get_submodule(name.removesuffix(".weight"))
                add = partial(_add, factors)
                hooks.callback(module.register_forward_hook(add).remove)
            yield

    def config(self, *, base: str | None, revision: str | None) -> dict[str, Any]:
        """Return the content of ``adapter_config.json``: plain LoRA on the edited layers.

        ``base`` is an id on the Hub.
        """
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
    """Write the adapter's tensors and its configuration into the folder."""
    save_file(adapter.tensors(), folder / WEIGHTS, metadata=METADATA)
    config = adapter.config(base=base, revision=revision)
    (folder / CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
