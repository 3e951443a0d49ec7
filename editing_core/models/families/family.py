"""The names of the parts of a model that MEMIT uses. Knows no weights and no sizes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The names of one architecture's parts. Each path is dotted and starts at the module that its docstring names."""

    model_type: str
    """``config.model_type`` of a Hugging Face checkpoint."""
    base: str
    """Path of the model without its head, within the model."""
    blocks: str
    """Path of the list of blocks within the base."""
    projection: str
    """Path of the MLP's output projection within a block."""
    final_norm: str
    """Path of the norm after the last block, within the base."""
    head: str
    """Path of the vocabulary head within the model."""
    positions: str | None = None
    """Path within the base of a table of positions that is added to the embeddings; None: the blocks add positions."""
    projection_is_transposed: bool = False
    """Whether the weight is stored as [d_ff, d_model] (Conv1D) instead of [d_model, d_ff]."""

    def base_model(self, model: nn.Module) -> nn.Module:
        """Return the model without its head."""
        return model.get_submodule(self.base)

    def num_layers(self, model: nn.Module) -> int:
        """Return the number of blocks."""
        return len(list(self.base_model(model).get_submodule(self.blocks).children()))

    def projection_module(self, model: nn.Module, layer: int) -> nn.Module:
        """Return the MLP's output projection of one block."""
        return model.get_submodule(self._projection_path(layer))

    def projection_weight_name(self, layer: int) -> str:
        """Return the full parameter name of the edited matrix of one block."""
        return f"{self._projection_path(layer)}.weight"

    def projection_weight(self, model: nn.Module, layer: int) -> Tensor:
        """Return the edited matrix of one block as stored."""
        return model.get_parameter(self.projection_weight_name(layer))

    def head_module(self, model: nn.Module) -> nn.Module:
        """Return the vocabulary head."""
        return model.get_submodule(self.head)

    def _projection_path(self, layer: int) -> str:
        return f"{self.base}.{self.blocks}.{layer}.{self.projection}"
