"""Versions with random matrices, for models that have none of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from editing_core.edits import AcceptedEdit
from editing_core.memit.config import preset
from editing_core.models.load import LoadedModel
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore

CHANGE = 1e-3
"""Standard deviation of what is added to the original's matrices."""


def random_matrices(loaded: LoadedModel) -> dict[str, Tensor]:
    """The matrices that MEMIT edits, a little changed, float32 in main memory."""
    family, generator = loaded.family, torch.Generator().manual_seed(0)
    num_layers = family.num_layers(loaded.model)
    layers = preset(family.model_type, num_layers=num_layers, hidden_size=loaded.hidden_size).layers
    found = {}
    for layer in layers:
        weight = family.projection_weight(loaded.model, layer).float().cpu()
        found[family.projection_weight_name(layer)] = weight + CHANGE * torch.randn(weight.shape, generator=generator)
    return found


def write_version(
    store: VersionStore,
    loaded: LoadedModel,
    version: str,
    weights: Mapping[str, Tensor],
    *,
    edits: Sequence[AcceptedEdit] = (),
) -> None:
    """Write the version's files; what its edits are does not matter here."""
    manifest = Manifest(
        version=version,
        parent="v0",
        created="2026-01-01T00:00:00Z",
        store="benchmark",
        model_fingerprint=loaded.fingerprint,
        settings={},
        edits=tuple(accepted.to_json() for accepted in edits),
        batches={},
        delta_norms={},
        checks={},
        tensors={},
    )
    store.write(manifest, weights)
