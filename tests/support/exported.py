"""A store with a version of a tiny model, made from random changes, and the references for its exports."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from editing_core.asking.continuations import continue_greedily
from editing_core.edits import AcceptedEdit
from editing_core.export.version import Exporter
from editing_core.models.load import LoadedModel, load_model
from editing_core.models.location import model_fingerprint
from editing_core.models.views import make_view
from editing_core.versions.layout import StoreLayout
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from tests.support.tiny_loaded import accepted
from tests.support.tiny_models import TinyFamily, tiny_tokenizer, wordy_model

IDS = torch.tensor([[5, 80, 200, 31, 7, 9, 300, 12]])
LAYERS = (1, 2)
RANK = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyVersion:
    """Version v1 of a tiny model's store."""

    model: Path
    store: VersionStore
    manifest: Manifest

    @property
    def exporter(self) -> Exporter:
        return Exporter(store=self.store, model=str(self.model), served=self.served)

    def served(self) -> LoadedModel:
        return load_model(str(self.model), device="cpu", dtype="float32")

    def logits(self) -> Tensor:
        """The logits of the version as served."""
        return logits(make_view(self.served().model, self.store.load_tensors("v1", "cpu")))


def tiny_version(
    folder: Path,
    family: TinyFamily,
    *,
    dtype: torch.dtype = torch.float32,
    size: float = 0.3,
    num_edits: int = 0,
) -> TinyVersion:
    """A model stored in ``dtype``, served in float32, with changes of rank 3 and this ‖Δ‖/‖W‖ in two layers.

    Its edits are its own answers to some prompts, so all of them hold.
    """
    model = folder / "model"
    wordy_model(family).to(dtype).save_pretrained(model)
    tiny_tokenizer().save_pretrained(model)
    loaded = load_model(str(model), device="cpu", dtype="float32")
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for layer in LAYERS:
        weight = loaded.family.projection_weight(loaded.model, layer)
        left, right = (torch.randn(n, RANK, generator=generator, dtype=torch.float64) for n in weight.shape)
        delta = left @ right.T
        delta *= size * weight.double().norm() / delta.norm()
        tensors[loaded.family.projection_weight_name(layer)] = (weight.double() + delta).float()
    store = VersionStore(StoreLayout(folder / "data"))
    manifest = Manifest(
        version="v1",
        parent="v0",
        created="2026-01-01T00:00:00Z",
        store="abc",
        model_fingerprint=model_fingerprint(model),
        settings={"dtype": "float32"},
        edits=tuple(edit.to_json() for edit in _taken(loaded, tensors, num_edits)),
        batches={},
        delta_norms={},
        checks={"reliability": {"count": 1, "total": 2, "share": 0.5}, "drift": 0.25},
        tensors={},
    )
    return TinyVersion(model=model, store=store, manifest=store.write(manifest, tensors))


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


def split_checkpoint(model: Path, *, strip: str = "") -> None:
    """Turn a folder's one file into two with an index, the names without ``strip`` before them, as older ones are."""
    tensors = {name.removeprefix(strip): tensor for name, tensor in load_file(model / "model.safetensors").items()}
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, model / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    (model / "model.safetensors").unlink()


def _taken(loaded: LoadedModel, tensors: dict[str, Tensor], num_edits: int) -> list[AcceptedEdit]:
    prompts = [f"Person {i} lives in" for i in range(num_edits)]
    written = continue_greedily(make_view(loaded.model, tensors), loaded.tokenizer, prompts, max_new_tokens=1)
    return [accepted(f"Person {i}", "{} lives in", word.strip() or "x", number=i) for i, word in enumerate(written)]
