"""Weights of linear layers a second time, in the order in which oneDNN reads them: several rows take half the time.

A library that multiplies a few rows by a large matrix spends most of its time on bringing the matrix into another
order, for each product anew. Here that is done once for each matrix, at the price of its memory. What all versions
share is packed once. On CPUs and in float32 alone; results differ from the plain product's in their last bits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from editing_core.models.memory import GIGA
from service.generation.decoding.forward.lean import lean_twin
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)

SMALLEST_SIZE = 100_000
"""Numbers of a matrix: the plain product with a smaller one is as fast, or faster."""
LARGEST_SHARE = 0.25
"""Of the memory that is free: what packed weights may take at most."""
_TOLERANCE = 1e-4
"""Of a product of numbers of the order of 1."""


class PackedLinear(nn.Linear):
    """A linear layer whose weight is also there packed; a single row is multiplied plainly, which is no slower."""

    packed: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Input [..., in_features] → [..., out_features], float32."""
        if input.numel() == self.in_features:
            return linear(input, self.weight, self.bias)
        return _product(input, self.packed, self.bias)


class PackedWeights:
    """The packed weights of one model, for it and for its versions."""

    def __init__(self, model: nn.Module) -> None:
        self._shared = {id(layer.weight): _pack(layer.weight) for layer in _linear_layers(model)}

    @classmethod
    def of(cls, model: nn.Module, *, free_bytes: Callable[[], int | None]) -> PackedWeights | None:
        """Pack the model's weights; None where that is of no use, or where memory is short, which is logged."""
        size_bytes = sum(layer.weight.nbytes for layer in _linear_layers(model))
        if not size_bytes or not _can_pack():
            return None
        free = free_bytes()
        if free is not None and size_bytes > LARGEST_SHARE * free:
            log_event(logger, "weights_not_packed", gb=round(size_bytes / GIGA, 1), free_gb=round(free / GIGA, 1))
            return None
        return cls(model)

    def bytes_of(self, model: nn.Module, names: Iterable[str]) -> int:
        """What packing a version's own weights, by their full names in the model, adds to them."""
        packed = {id(layer.weight): layer.weight.nbytes for layer in _linear_layers(model)}
        return sum(packed.get(id(model.get_parameter(name)), 0) for name in names)

    def put_into(self, twin: nn.Module) -> None:
        """Have the linear layers of a twin (see ``lean_twin``) use packed weights; its own ones are packed now."""
        for layer in list(_linear_layers(twin)):
            known = self._shared.get(id(layer.weight))
            layer.__class__ = PackedLinear
            layer.packed = _pack(layer.weight) if known is None else known


def writing_twin(model: nn.Module, packed: PackedWeights | None) -> nn.Module:
    """The twin of a version that writes its answers. Raises UnsupportedHook as ``lean_twin`` does."""
    twin = lean_twin(model)
    if packed is not None:
        packed.put_into(twin)
    return twin


def unpacked(twin: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights of a twin, by their full names, as they are packed; plain ones as they are."""
    layers = {name: twin.get_submodule(name.rpartition(".")[0]) for name in weights}
    return {
        name: layer.packed.to_dense() if isinstance(layer, PackedLinear) and name.endswith(".weight") else weights[name]
        for name, layer in layers.items()
    }


def _linear_layers(model: nn.Module) -> Iterator[nn.Linear]:
    """Those that can be packed."""
    for module in model.modules():
        if type(module) is nn.Linear and "forward" not in module.__dict__:
            weight = module.weight
            if weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= SMALLEST_SIZE:
                yield module


def _can_pack() -> bool:
    """Whether this torch can, and gives the right product."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    rows, weight, bias = (torch.rand(shape, generator=generator) for shape in ((3, 32), (16, 32), (16,)))
    try:
        found = _product(rows, _pack(weight), bias)
    except (AttributeError, RuntimeError):  # what the compiler of torch uses, and no promise
        return False
    return torch.allclose(found, linear(rows, weight, bias), atol=_TOLERANCE)


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return packed


def _product(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return product
