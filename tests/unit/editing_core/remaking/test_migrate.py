"""The same edits on another model: what it can take is taken up, what it cannot is named and left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editing_core.edits import AcceptedEdit
from editing_core.remaking.migrate import main
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from tests.support.solved_store import LAYERS, solve_store, tiny_settings
from tests.support.tiny_loaded import accepted, tiny_edits
from tests.support.tiny_models import save_tiny_model
from tests.support.worker_process import LAX
from worker.protocol.settings import Settings

LONG = accepted("Zola " * 35 + "II", "{} lives in", "Oslo", number=20)
"""Fits into 256 positions and not into half as many."""
BENEATH = AcceptedEdit(
    id="e0021",
    edit=accepted(LONG.edit.subject, "{} lives in", "Rome").edit,
    batch="a",
    acceptance=0,
    created=LONG.created,
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return tiny_settings(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def stored(settings: Settings) -> Manifest:
    return solve_store(settings, [*tiny_edits(4), LONG, BENEATH])


def _shorter_model(folder: Path) -> Path:
    """A model of the other family, with half as many positions."""
    model = save_tiny_model(folder / "neox", "gpt_neox", seed=5)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 128}))
    return model


def _migrate(settings: Settings, model: Path, out: Path, *options: str) -> tuple[int, dict[str, Any]]:
    reported = out.with_suffix(".json")
    fixed = ("--limits", json.dumps(LAX), "--layers", LAYERS, "--prior-weight", "5", "--clamp", "2", "--device", "cpu")
    arguments = ["--from", str(settings.data), "--to", str(model), "--out", str(out), "--json", str(reported)]
    code = main([*arguments, *fixed, *options])
    text = reported.read_text() if reported.exists() else ""
    return code, json.loads(text) if text else {}


def test_what_the_other_model_can_take_is_solved_there_and_the_rest_is_named(
    settings: Settings, stored: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _shorter_model(tmp_path)
    corpus = str(settings.corpus[0])
    code, reported = _migrate(settings, model, tmp_path / "out", "--corpus", corpus)
    assert code == 0
    assert list(reported["left_out"]) == [LONG.id]
    assert set(reported["edits"]) == {accepted.id for accepted in stored.live} - {LONG.id}
    assert reported["targets"] == {"reused": 0, "searched": 4}
    shown = capsys.readouterr().out
    assert f"{reported['checks']['reliability']['count']} of 5 edits hold" in shown
    assert f"left out: {reported['left_out'][LONG.id]}"[:30] in shown

    layout = StoreLayout(tmp_path / "out")
    made = VersionStore(layout).read_manifest("v3")
    identity = open_identity(layout.root)
    assert identity.model is not None
    assert made.model_fingerprint == identity.model.fingerprint != stored.model_fingerprint
    assert LONG.id not in {accepted.id for accepted in made.live}
    assert made.superseded == (), "what lies beneath an edit that is left out does not come into force"
    assert set(made.tensors) == {f"gpt_neox.layers.{i}.mlp.dense_4h_to_h.weight" for i in (1, 2)}


def test_the_other_model_needs_text(
    settings: Settings, stored: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _migrate(settings, _shorter_model(tmp_path), tmp_path / "out")[0] == 2
    assert "errata migrate: model" in " ".join(capsys.readouterr().err.split())


def test_a_model_that_takes_none_of_the_edits_is_refused(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = settings.model_copy(update={"data": tmp_path / "data"})
    solve_store(alone, [LONG])
    code, _ = _migrate(alone, _shorter_model(tmp_path), tmp_path / "out", "--corpus", str(settings.corpus[0]))
    assert code == 2
    assert "can take none of the edits" in " ".join(capsys.readouterr().err.split())
