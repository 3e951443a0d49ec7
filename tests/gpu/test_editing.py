"""A set of edits on a CUDA device: the change of the weights that the CPU finds, and the same bits every time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing_core.editor.editor import JointEditor
from editing_core.memit.update import Update
from editing_core.models.load import load_model
from editing_core.versions.target_files import TargetFiles
from tests.benchmarks.update_speed import digest_of
from tests.benchmarks.workplace import Workplace, of_demo_model
from tests.support.devices import DEVICES

NUM_EDITS = 12
FARTHEST = 0.02
"""Of a matrix's change, ‖D − D'‖ / ‖D‖: searches of 25 steps part a little where sums have another order."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return of_demo_model("demo-gptj", tmp_path_factory.mktemp("artefacts"), NUM_EDITS)


@pytest.mark.parametrize("device", DEVICES[1:])
def test_the_change_is_that_of_the_cpu(place: Workplace, device: str, tmp_path: Path) -> None:
    loaded = load_model("demo-gptj", device=device, dtype="float32")

    def editor() -> JointEditor:
        files = TargetFiles(tmp_path / device)
        return JointEditor(loaded=loaded, artefacts=place.artefacts, config=place.config, targets=files)

    there = editor()
    here = place.editor(tmp_path / "cpu")
    expected, found = built(here, place), built(there, place)
    for name, weight in expected.weights.items():
        original = place.loaded.model.get_parameter(name)
        change = weight - original
        assert torch.linalg.norm(found.weights[name].cpu() - weight) <= FARTHEST * torch.linalg.norm(change)
    assert digest_of(editor().build(place.edits)) == digest_of(found)  # from the stored z, with nothing else kept


def built(editor: JointEditor, place: Workplace) -> Update:
    editor.compute_targets(place.edits, live=place.edits)
    return editor.build(place.edits)
