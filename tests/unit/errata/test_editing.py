"""The Python package: five lines on every family, the steps one by one, and errors that name the edit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from editing_core.asking.scoring import score_targets
from editing_core.demo.models import demo_corpus_path
from editing_core.errors import EditConflict, ExportRefused, InvalidEdit, InvalidSettings
from errata import Edit, EditedModel, Editor, open_editor
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily, save_tiny_model

EDITS = [Edit("Toyota", "The home of {} is", "Rome"), Edit("Danielle Darrieux", "{} speaks", "Old Norse")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door")
    lines = demo_corpus_path().read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "text.txt").write_text("".join(lines[:400]), encoding="utf-8")
    return folder


def opened(place: Path, family: TinyFamily, *, progress: bool = False) -> Editor:
    model = save_tiny_model(place / family, family) if not (place / family).exists() else place / family
    return open_editor(
        model,
        corpus=place / "text.txt",
        cache=place / "var",
        num_tokens=2048,
        layers="1-2",
        prior_weight=0.05,
        clamp=2.0,
        device="cpu",
        progress=progress,
    )


@pytest.fixture(scope="module", params=ALL_FAMILIES)
def editor(request: pytest.FixtureRequest, place: Path) -> Editor:
    return opened(place, request.param)


@pytest.fixture
def edited(editor: Editor) -> Iterator[EditedModel]:
    before = {name: tensor.clone() for name, tensor in editor.model.state_dict().items()}
    yield editor.edit(EDITS)
    after = editor.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())  # bit for bit, whatever was done


def test_an_edited_model_prefers_its_new_objects_to_the_original(editor: Editor, edited: EditedModel) -> None:
    pairs = [(edit.filled_prompt, edit.target_new) for edit in EDITS]
    before = score_targets(editor.model, editor.tokenizer, pairs)
    after = score_targets(edited.model, edited.tokenizer, pairs)
    gains = [new.mean_logprob - old.mean_logprob for new, old in zip(after, before, strict=True)]
    assert min(gains) > 0.1, gains  # nats; a random model of two heads cannot be led far
    assert isinstance(edited.model, type(editor.model))
    assert editor.solve({}).generate("The home of Toyota is") != edited.generate("The home of Toyota is")


def test_a_check_names_its_figures_and_reports_on_each_edit(edited: EditedModel) -> None:
    check = edited.check()
    assert set(check.edits) == {"edits[0]", "edits[1]"}
    assert str(check).startswith("passed" if check.passed else "failed")
    assert bool(check.reasons) != check.passed
    assert all(reason in str(check) for reason in check.reasons)
    assert "perplexity: " in str(check)


def test_a_saved_folder_loads_as_the_edited_model_and_is_never_written_over(
    edited: EditedModel, tmp_path: Path
) -> None:
    folder = edited.save(tmp_path / "corrected")
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    saved, served = loaded.state_dict(), edited.model.state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in served.items())
    with pytest.raises(ExportRefused, match="not empty"):
        edited.save(folder)


def test_the_steps_one_by_one_give_what_edit_gives(editor: Editor, edited: EditedModel) -> None:
    targets = editor.targets(EDITS)
    assert list(map(len, targets.values())) == [editor.joint_editor.loaded.hidden_size] * len(EDITS)
    ordered = {row.edit: targets[row.edit] for row in editor.joint_editor.solved(edited.edits)}
    alone = editor.solve(ordered)
    assert all(torch.equal(alone.weights[name], weight) for name, weight in edited.weights.items())
    first = editor.config.layers[0]
    keys = editor.keys(ordered)
    assert torch.equal(keys[first], edited.update.layers[first].keys_NM)
    assert list(keys) == list(editor.config.layers)


def test_edits_in_another_order_give_the_same_bits(editor: Editor, edited: EditedModel) -> None:
    other = editor.edit(reversed(EDITS))
    assert all(torch.equal(other.weights[name], weight) for name, weight in edited.weights.items())


def test_errors_name_the_edit_by_its_place(place: Path) -> None:
    editor = opened(place, "gptj")
    with pytest.raises(InvalidEdit, match=r"edits\[1\]: prompt .* has 0 slots"):
        editor.edit([EDITS[0], Edit("Rome", "lies in", "Spain")])
    with pytest.raises(EditConflict, match=r"edits\[0\] and edits\[2\] .*'Rome' and 'Oslo'"):
        editor.edit([*EDITS, Edit("Toyota", "The home of {} is", "Oslo")])
    with pytest.raises(InvalidEdit, match=r"edits\[0\]: .*tokens"):
        editor.edit([Edit("Rome", "{} " + "very " * 300 + "is", "old")])
    with pytest.raises(InvalidSettings, match="dtype 'float7'"):
        editor.solve({}).save(place / "nowhere", dtype="float7")


def test_a_model_without_text_is_refused_with_the_way_out(place: Path) -> None:
    model = save_tiny_model(place / "no-text", "gptj")
    with pytest.raises(InvalidSettings, match="needs text for its statistics"):
        open_editor(model, cache=place / "empty", progress=False)


def test_progress_is_a_line_for_each_tenth_or_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = Edit("Brunei", "{} lies in", "Rome")
    opened(place, "gptj", progress=True).edit([edit])
    reported = capsys.readouterr()
    assert "searching z: 1 of 1" in reported.err
    assert "solving layers: " in reported.err
    opened(place, "gptj").edit([edit])
    silent = capsys.readouterr()
    assert reported.out == silent.out == silent.err == ""


def test_a_demo_model_needs_no_corpus(tmp_path: Path) -> None:
    editor = open_editor("demo-gptj", cache=tmp_path, num_tokens=2048, device="cpu", progress=False)
    edited = editor.edit([Edit("Hamlet", "{} was written by", "Dickens")])
    assert edited.generate("Hamlet was written by", max_new_tokens=4).startswith(" Dickens")


def test_importing_the_package_or_an_edit_imports_no_torch() -> None:
    code = (
        "import sys, errata, errata.client; errata.Edit('Rome', '{} is in', 'Spain'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import errata

    with pytest.raises(AttributeError, match="no attribute 'edit_model'"):
        errata.edit_model  # noqa: B018


def test_a_program_that_uses_editing_and_the_client_passes_mypy_strict() -> None:
    program = Path(__file__).with_name("both_doors.py")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(program)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
