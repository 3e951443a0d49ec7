"""What the store's tests write, also from processes of their own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from editing_core.edits import AcceptedEdit, Edit
from editing_core.versions.manifest import Manifest

ROOT = Path(__file__).parents[4]
NAME = "transformer.h.3.mlp.fc_out.weight"


def tensors(value: float = 1.0) -> dict[str, Tensor]:
    return {NAME: torch.full((3, 5), value), "b": torch.arange(4, dtype=torch.float32) * value}


def accepted(number: int = 1) -> AcceptedEdit:
    edit = Edit(
        subject=f"Subject {number} 日本 🙂",
        prompt="The mother tongue of {} is",
        target_new="English",
        relation="P103",
        target_true="French",
        source="https://example.org",
    )
    return AcceptedEdit(
        id=f"e{number}", edit=edit, batch="b1", acceptance=4, created="2024-05-01T10:00:00Z", author="ann"
    )


def manifest(version: str = "v1", parent: str = "v0") -> Manifest:
    return Manifest(
        version=version,
        parent=parent,
        created="2024-05-01T10:00:07Z",
        store="abc",
        model_fingerprint="f" * 64,
        settings={"layers": [1, 2], "prior_weight": 30.0},
        edits=tuple(accepted(n).to_json() for n in (1, 2)),
        batches={"b1": {"acceptance": 4, "author": "ann", "created": "2024-05-01T10:00:00Z", "promote": "auto"}},
        delta_norms={NAME: 0.25},
        checks={"reliability": 1.0, "drift": None},
        tensors={},
    )
