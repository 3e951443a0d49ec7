"""Every damage of a store's files is found and named, and a whole store gives no complaint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from editing_core.covariance.artefacts import ArtefactKey, read_artefacts, read_record, write_artefacts
from editing_core.verifying.__main__ import main
from editing_core.verifying.findings import Finding, from_json
from editing_core.verifying.store_files import examine_store
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.solved_store import solve_store, tiny_settings
from tests.support.tiny_loaded import tiny_edits


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny_settings(tmp_path_factory.mktemp("store"))
    solve_store(settings, tiny_edits(4))
    return settings.data


@pytest.fixture
def layout(whole: Path, tmp_path: Path) -> StoreLayout:
    """A copy that can be damaged."""
    shutil.copytree(whole, tmp_path / "data")
    return StoreLayout(tmp_path / "data")


def examine(layout: StoreLayout) -> list[Finding]:
    return list(examine_store(layout.root, on_progress=lambda what, done, total: None))


def flip(file: Path, *, byte: int = -1) -> None:
    content = bytearray(file.read_bytes())
    content[byte] ^= 1
    file.write_bytes(content)


def first_target(layout: StoreLayout) -> Path:
    return min(layout.targets_dir.glob("*/*.safetensors"))


def put_nan(layout: StoreLayout) -> None:
    tensors = load_file(first_target(layout))
    tensors["targets"][0, 0] = torch.nan
    save_file(tensors, first_target(layout))


def record_file(layout: StoreLayout) -> Path:
    return next(layout.artefacts_dir.glob("*/artefacts.json"))


def tensors_of(layout: StoreLayout) -> Path:
    return next(layout.artefacts_dir.glob("*/artefacts.safetensors"))


def first_answer(layout: StoreLayout) -> Path:
    return min(layout.targets_dir.glob("*/*.answer.json"))


def change_record(layout: StoreLayout, **values: object) -> None:
    file = record_file(layout)
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def give_other_settings(layout: StoreLayout) -> None:
    record = json.loads(layout.settings_file.read_text())
    record["values"]["prior_weight"] += 1
    layout.settings_file.write_text(json.dumps(record))


def test_a_whole_store_gives_no_complaint_and_nothing_is_changed(layout: StoreLayout) -> None:
    before = {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file()}
    found = examine(layout)
    assert not [finding for finding in found if finding.problem is not None]
    assert [finding.what.split()[0] for finding in found] == ["settings", "version", "HEAD", "z", "statistics"]
    assert next(finding.detail for finding in found if finding.what == "z") == "4 whole"
    assert {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("damage", "what", "words"),
    [
        (lambda layout: flip(layout.tensor_file("v3")), "version v3", "tensors.safetensors was written with digest"),
        (lambda layout: flip(layout.tensor_file("v3"), byte=300), "version v3", "and now has sha256:"),
        (lambda layout: layout.tensor_file("v3").unlink(), "version v3", "tensors.safetensors is missing"),
        (lambda layout: flip(layout.manifest_file("v3"), byte=-9), "version v3", "manifest.json"),
        (lambda layout: flip(first_target(layout)), "z", "were written with sha256"),
        (put_nan, "z", "numbers that are not finite"),
        (lambda layout: first_target(layout).write_bytes(b""), "z", ".safetensors: "),
        (lambda layout: layout.head.write_text("{"), "HEAD", "cannot be read"),
        (lambda layout: shutil.rmtree(layout.version_dir("v3")), "HEAD", "names v3, whose folder is not there"),
        (give_other_settings, "settings", "written down"),
        (
            lambda layout: flip(next(layout.artefacts_dir.glob("*/artefacts.safetensors"))),
            "statistics",
            "run `errata prepare` again",
        ),
        (
            lambda layout: change_record(layout, heldout_perplexity=1.0),
            "statistics",
            "was changed after it was written",
        ),
        (lambda layout: change_record(layout, seal=["x"]), "statistics", "was changed after"),
        (lambda layout: layout.manifest_file("v3").write_text("[" * 20_000), "version v3", "not a complete manifest"),
        (lambda layout: record_file(layout).write_text("[]"), "statistics", "is not what Errata writes"),
        (lambda layout: record_file(layout).write_text("{}"), "statistics", "is not what Errata writes"),
        (lambda layout: record_file(layout).write_text("[" * 20_000), "statistics", "is not what Errata writes"),
        (lambda layout: tensors_of(layout).unlink(), "statistics", "artefacts.safetensors is missing"),
        (lambda layout: shutil.rmtree(layout.artefacts_dir), "statistics", "holds none that the store was solved with"),
        (lambda layout: layout.settings_file.unlink(), "version v3", "settings.json is missing"),
        (lambda layout: layout.model_file.unlink(), "version v3", "model.json is missing"),
        (lambda layout: first_answer(layout).write_text('{"already_t'), "answers", ".answer.json cannot be read"),
    ],
)
def test_one_damage_is_found_and_named(
    layout: StoreLayout, damage: Callable[[StoreLayout], None], what: str, words: str
) -> None:
    damage(layout)
    found = [finding for finding in examine(layout) if finding.problem is not None and finding.what.startswith(what)]
    assert found
    assert found[0].problem is not None
    assert words in found[0].problem


def test_other_contexts_are_found_although_each_file_agrees_with_itself(layout: StoreLayout) -> None:
    (folder,) = (file.parent for file in layout.artefacts_dir.glob("*/artefacts.json"))
    artefacts, record = read_artefacts(folder), read_record(folder)
    assert artefacts is not None
    key = ArtefactKey(**{**record["key"], "layers": tuple(record["key"]["layers"])})
    write_artefacts(folder, replace(artefacts, contexts=("{}", "Perhaps {}")), key)
    (found,) = [finding for finding in examine(layout) if finding.problem is not None]
    assert found.problem is not None
    assert "holds none that the store was solved with" in found.problem


def test_what_is_removed_meanwhile_is_no_damage(layout: StoreLayout) -> None:
    def remove(what: str, done: int, total: int) -> None:
        if (what, done) == ("versions", 0):
            VersionStore(layout).remove("v3")
        if (what, done) == ("z", 1):
            for file in sorted(layout.targets_dir.glob("*/*.safetensors"))[1:]:
                file.unlink()

    layout.head.unlink()
    found = list(examine_store(layout.root, on_progress=remove))
    assert [finding for finding in found if finding.problem is not None] == []
    assert next(finding.detail for finding in found if finding.what == "z") == "1 whole"


def test_a_version_of_another_store_is_named(layout: StoreLayout) -> None:
    layout.store_file.write_text(
        layout.store_file.read_text().replace('"id":"', '"id":"x').replace('"id": "', '"id": "x')
    )
    (found,) = [finding for finding in examine(layout) if finding.problem is not None]
    assert found.problem is not None
    assert "its store is not this store's" in found.problem


def test_as_a_program_it_prints_its_findings(
    layout: StoreLayout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(layout.root)]) == 0
    assert from_json(capsys.readouterr().out) == examine(layout)
    layout.store_file.write_text("{")
    assert main([str(layout.root)]) == 2
    assert "cannot be read" in " ".join(capsys.readouterr().err.split())
