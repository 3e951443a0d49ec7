"""A model with its artefacts, settings and edits, for benchmarks of the core.

Either a demo model with edits drawn from its facts, or a folder with ``model/``, ``counterfact-dev.json`` and
``reference/`` (contexts and covariances of the public implementation).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from editing_core.asking.probes import ProbeSet
from editing_core.covariance.artefacts import ModelArtefacts
from editing_core.covariance.defaults import corpus_for
from editing_core.covariance.prepare import PrepareOptions, prepare
from editing_core.demo.models import DemoModel
from editing_core.editor.editor import JointEditor
from editing_core.edits import AcceptedEdit, Edit
from editing_core.formats.counterfact import read_counterfact
from editing_core.memit.config import MemitConfig, preset
from editing_core.models.load import LoadedModel, load_model
from editing_core.versions.target_files import TargetFiles
from tests.benchmarks.hundred_edits import draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """One model, ready to be edited."""

    name: str
    loaded: LoadedModel
    artefacts: ModelArtefacts
    config: MemitConfig
    edits: tuple[AcceptedEdit, ...]

    def editor(self, folder: Path) -> JointEditor:
        """An editor that keeps its z in ``folder``."""
        return JointEditor(
            loaded=self.loaded, artefacts=self.artefacts, config=self.config, targets=TargetFiles(folder)
        )


def of_demo_model(name: DemoModel, folder: Path, num_edits: int) -> Workplace:
    """The demo model with its preset; its artefacts go into ``folder``."""
    loaded = load_model(name, device="cpu")
    config = preset(
        loaded.family.model_type,
        num_layers=loaded.family.num_layers(loaded.model),
        hidden_size=loaded.hidden_size,
    )
    artefacts = prepare(loaded, corpus_for(name, None), PrepareOptions(layers=config.layers), root=folder)
    return Workplace(
        name=name, loaded=loaded, artefacts=artefacts, config=config, edits=as_accepted(draw(0, num_edits))
    )


def of_folder(folder: Path) -> Workplace:
    """The folder's model with the settings, contexts and covariances of its reference."""
    described = json.loads((folder / "reference" / "reference.json").read_text())
    reference = load_file(folder / "reference" / "reference.safetensors")
    layers = tuple(described["layers"])
    artefacts = ModelArtefacts(
        contexts=tuple(described["contexts"]),
        covariances={layer: reference[f"cov.{layer}"] for layer in layers},
        probes=ProbeSet((), (), torch.empty(0)),
        heldout_ids=(),
        heldout_perplexity=1.0,
        num_tokens=0,
    )
    config = MemitConfig(layers=layers, prior_weight=described["lambda"], clamp_factor=described["clamp"])
    edits = as_accepted([record.edit for record in read_counterfact(folder / "counterfact-dev.json")])
    loaded = load_model(str(folder / "model"), device="cpu", dtype="float32")
    return Workplace(name=str(folder / "model"), loaded=loaded, artefacts=artefacts, config=config, edits=edits)


def as_accepted(edits: Sequence[Edit]) -> tuple[AcceptedEdit, ...]:
    """The edits, accepted as one batch."""
    return tuple(
        AcceptedEdit(id=f"e{i:05}", edit=edit, batch="b", acceptance=1, created="2026-01-01T00:00:00Z")
        for i, edit in enumerate(edits)
    )
