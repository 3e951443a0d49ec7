"""Packs copies of linear layers' weights in oneDNN's layout, which halves the time of products with several rows.

A product of a few rows with a large matrix spends most of its time on reordering the matrix. Packing reorders each
matrix once and keeps the result, which costs the matrix's memory again. All versions share the packed matrices that
they do not change. Works on CPUs in float32 only; results differ from the plain product's in their last bits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from editing_core.models.memory import GIGA
from service.generation.decoding.forward.lean import lean_copy
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)

SMALLEST_SIZE = 100_000
"""Smallest number of elements of a packed matrix. For smaller matrices, the plain product is at least as fast."""
LARGEST_SHARE = 0.25
"""Largest share of the free memory that packed weights may take."""
_TOLERANCE = 1e-4
"""Absolute tolerance for a product of numbers of the order of 1."""


class PackedLinear(nn.Linear):
    """A linear layer with a packed copy of its weight; a single row uses the plain product, which is as fast."""

    packed: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Input [..., in_features] → [..., out_features], float32."""
        if input.numel() == self.in_features:
            return linear(input, self.weight, self.bias)
        return _product(input, self.packed, self.bias)


class PackedWeights:
    """The packed weights of one model, for it and for its versions."""

    def __init__(self, model: nn.Module, *, smallest_size: int = SMALLEST_SIZE) -> None:
        self._smallest_size = smallest_size
        self._shared = {id(layer.weight): _pack(layer.weight) for layer in _linear_layers(model, smallest_size)}

    @classmethod
    def of(
        cls, model: nn.Module, *, free_bytes: Callable[[], int | None], smallest_size: int = SMALLEST_SIZE
    ) -> PackedWeights | None:
        """Pack the model's weights of at least ``smallest_size`` elements.

        Returns None if no weight can be packed, or if memory is short. Short memory is logged.
        """
        size_bytes = sum(layer.weight.nbytes for layer in _linear_layers(model, smallest_size))
        if not size_bytes or not _can_pack():
            return None
        free = free_bytes()
        if free is not None and size_bytes > LARGEST_SHARE * free:
            log_event(logger, "weights_not_packed", gb=round(size_bytes / GIGA, 1), free_gb=round(free / GIGA, 1))
            return None
        return cls(model, smallest_size=smallest_size)

    def bytes_of(self, model: nn.Module, names: Iterable[str]) -> int:
        """Return the bytes that packing adds for a version's own weights, given by their full names in the model."""
        packed = {id(layer.weight): layer.weight.nbytes for layer in _linear_layers(model, self._smallest_size)}
        return sum(packed.get(id(model.get_parameter(name)), 0) for name in names)

    def install(self, copy: nn.Module) -> None:
        """Make the linear layers of a copy (see ``lean_copy``) use packed weights. Packs the copy's own weights."""
        for layer in list(_linear_layers(copy, self._smallest_size)):
            known = self._shared.get(id(layer.weight))
            layer.__class__ = PackedLinear
            layer.packed = _pack(layer.weight) if known is None else known


def decoding_copy(model: nn.Module, packed: PackedWeights | None) -> nn.Module:
    """Return the copy of a version's model that decodes its answers. Raises UnsupportedHook as ``lean_copy`` does."""
    copy = lean_copy(model)
    if packed is not None:
        packed.install(copy)
    return copy


def unpacked(copy: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the named weights of a copy, unpacked if they are packed. ``weights`` is by full name."""
    layers = {name: copy.get_submodule(name.rpartition(".")[0]) for name in weights}
    return {
        name: layer.packed.to_dense() if isinstance(layer, PackedLinear) and name.endswith(".weight") else weights[name]
        for name, layer in layers.items()
    }


def _linear_layers(model: nn.Module, smallest_size: int) -> Iterator[nn.Linear]:
    """Yield the layers that can be packed."""
    for module in model.modules():
        if type(module) is nn.Linear and "forward" not in module.__dict__:
            weight = module.weight
            if weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= smallest_size:
                yield module


def _can_pack() -> bool:
    """Whether this build of torch can pack weights and computes the right product with them."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    rows, weight, bias = (torch.rand(shape, generator=generator) for shape in ((3, 32), (16, 32), (16,)))
    try:
        found = _product(rows, _pack(weight), bias)
    except (AttributeError, RuntimeError):  # private operators of torch's compiler, which may change
        return False
    return torch.allclose(found, linear(rows, weight, bias), atol=_TOLERANCE)


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return packed


def _product(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return product
