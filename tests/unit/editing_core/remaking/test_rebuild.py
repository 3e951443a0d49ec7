"""A rebuilt version: the same bits with its z, the same scores without, other settings on request."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from editing_core.asking.continuations import continue_greedily
from editing_core.edits import AcceptedEdit
from editing_core.guards import AcceptedGuard, Guard
from editing_core.models.load import load_model
from editing_core.remaking.guards import before_their_edits, kept_by_stored
from editing_core.remaking.rebuild import main
from editing_core.remaking.task import open_source
from editing_core.versions.head import read_head, was_published
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.manifest import EMPTY_DIGEST, Manifest
from editing_core.versions.store import VersionStore
from service.cli.main import app
from tests.support.solved_store import solve_store, tiny_settings
from tests.support.tiny_loaded import accepted, tiny_edits
from tests.support.worker_process import LAX
from worker.protocol.settings import Settings
from worker.session import EditingSession

LIMITS = ("--limits", json.dumps(LAX), "--device", "cpu")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return tiny_settings(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def stored(settings: Settings) -> Manifest:
    """A live version of nine edits, one of which superseded another and two are about one subject."""
    last = accepted("Ada", "{} speaks", "a boat", number=8)
    older = AcceptedEdit(id="e9999", edit=tiny_edits(1)[0].edit, batch="a", acceptance=0, created=last.created)
    changed = AcceptedEdit(
        id="e9999",
        edit=accepted("Ada", "{} lives in", "Bergen").edit,
        batch="a",
        acceptance=0,
        created=older.created,
    )
    return solve_store(settings, [*tiny_edits(8), last, changed])


def rebuild(settings: Settings, out: Path, *options: str) -> tuple[int, dict[str, Any]]:
    reported = out.with_suffix(".json")
    code = main(["--from", str(settings.data), "--out", str(out), "--json", str(reported), *LIMITS, *options])
    text = reported.read_text() if reported.exists() else ""
    return code, json.loads(text) if text else {}


def test_with_the_stored_targets_the_digest_is_the_same(
    settings: Settings, stored: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path for path in settings.data.rglob("*"))
    code, reported = rebuild(settings, tmp_path / "out")
    assert (code, reported["same"], reported["digest"]) == (0, True, stored.digest)
    assert reported["targets"] == {"reused": 8, "searched": 0}
    assert "equal to the stored one" in capsys.readouterr().out
    assert sorted(path for path in settings.data.rglob("*")) == before, "the source stays as it was"

    layout = StoreLayout(tmp_path / "out")
    made = VersionStore(layout).read_manifest("v3")
    assert (made.edits, made.superseded, made.batches) == (stored.edits, stored.superseded, stored.batches)
    assert (len(made.superseded), made.settings, made.made_with) == (1, stored.settings, stored.made_with)
    assert (made.parent, made.store) == ("v0", open_identity(layout.root).id)
    head = read_head(layout)
    assert head is not None
    assert (head.revision, head.version, was_published(layout, "v3")) == (1, "v3", True)


def test_what_is_rebuilt_is_a_store_that_a_worker_opens_and_takes_up(
    settings: Settings, stored: Manifest, tmp_path: Path
) -> None:
    rebuild(settings, tmp_path / "out")
    session = EditingSession.open(settings.model_copy(update={"data": tmp_path / "out"}))
    assert session.missing_targets(stored.live) == []
    candidate = session.build_candidate(stored.live, on_progress=lambda done, total: None)
    assert set(candidate.weights) == set(stored.tensors)


def test_without_the_stored_targets_the_edits_score_the_same(
    settings: Settings, stored: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, reported = rebuild(settings, tmp_path / "out", "--without-targets")
    assert (code, reported["targets"]) == (0, {"reused": 0, "searched": 8})
    if reported["same"]:  # computed in other company, and the same to the last bit all the same
        assert reported["digest"] == stored.digest
        return
    assert reported["scores"]["holding_new"] == reported["scores"]["holding_stored"]
    assert reported["scores"]["changed"] == []
    # Company changes the last bits of z in float32 and nothing else: 1e-7 · the amplification of 11 Adam steps.
    assert max(difference["of_change"] for difference in reported["differences"]) < 1e-3
    assert "‖difference‖/‖Δ‖" in capsys.readouterr().out


def test_damaged_targets_are_searched_again(settings: Settings, stored: Manifest, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(settings.data, data)
    first = min(StoreLayout(data).targets_dir.glob("*/*.safetensors"))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    code, reported = rebuild(settings.model_copy(update={"data": data}), tmp_path / "out")
    assert (code, reported["targets"]) == (0, {"reused": 7, "searched": 1})


def test_a_version_whose_matrices_are_gone_is_rebuilt(settings: Settings, stored: Manifest, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(settings.data, data)
    StoreLayout(data).tensor_file("v3").unlink()
    code, reported = rebuild(settings.model_copy(update={"data": data}), tmp_path / "out")
    assert (code, reported["digest"]) == (0, stored.digest)


def test_other_settings_make_a_store_that_belongs_to_them(
    settings: Settings, stored: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, reported = rebuild(settings, tmp_path / "out", "--prior-weight", "7", "--clamp", "1.5")
    assert (code, reported["same"], reported["targets"]["searched"]) == (0, False, 8)
    assert "prior_weight: 5.0 then, 7.0 now" in capsys.readouterr().out
    assert "--prior-weight 7 --clamp 1.5" in reported["command"]
    assert _options_of(reported["command"]) <= _options_known_to("up")
    made = VersionStore(StoreLayout(tmp_path / "out")).read_manifest("v3")
    assert made.settings["prior_weight"] == 7.0
    changed = {"data": tmp_path / "out", "prior_weight": 7.0, "clamp": 1.5}
    EditingSession.open(settings.model_copy(update=changed))


def test_guards_are_held_again_and_their_weight_can_be_changed(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    guard = Guard(prompt="Rocard speaks", target="Thai", subject="Rocard")
    held = AcceptedGuard(guard=guard, created="2026-01-01T00:00:00Z", author="ann")
    stored = solve_store(settings, tiny_edits(4), guards=[held])
    code, reported = rebuild(settings, tmp_path / "same")
    assert (code, reported["digest"]) == (0, stored.digest)
    code, reported = rebuild(settings, tmp_path / "other", "--guard-weight", "2")
    assert (code, reported["same"]) == (0, False)
    assert "--guard-weight 2" in reported["command"]
    made = VersionStore(StoreLayout(tmp_path / "other")).read_manifest("v3")
    assert (made.settings["guard_weight"], made.accepted_guards) == (2.0, (held,))


def test_a_guard_that_an_edit_in_force_had_broken_before_it_was_asked_for_does_not_count(tmp_path: Path) -> None:
    settings, edits = tiny_settings(tmp_path), tiny_edits(4)
    original = load_model(str(settings.model), device="cpu", dtype="float32")
    broken = edits[0].edit.filled_prompt
    [answer] = continue_greedily(original.model, original.tokenizer, [broken], max_new_tokens=1)
    guard = Guard(prompt=broken, target=answer.strip(), subject=edits[0].edit.subject)
    held = AcceptedGuard(guard=guard, created="2999-01-01T00:00:00Z", author="ann")
    stored = solve_store(settings, edits, guards=[held])
    strict = {**LAX, "min_guards_kept": 1.0}
    code, reported = rebuild(settings, tmp_path / "other", "--prior-weight", "7", "--limits", json.dumps(strict))
    assert (code, reported["same"], reported["written"]) == (0, False, True)
    assert reported["checks"]["guards"]["not_counted"] == [held.id]
    assert before_their_edits([held], edits) == ()
    assert before_their_edits([replace(held, created="2000-01-01T00:00:00Z")], edits) != ()
    about_another = replace(held, guard=Guard(prompt=f"{edits[0].edit.subject}script is", target="x"))
    assert before_their_edits([about_another], edits) == (about_another,)
    assert kept_by_stored([held], open_source(settings.data, stored.version), original) == ()


def test_a_version_without_any_edits_left_is_the_original_again(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    stored = solve_store(settings, [])
    code, reported = rebuild(settings, tmp_path / "out")
    assert (code, reported["same"], reported["digest"]) == (0, True, stored.digest)
    assert stored.digest == EMPTY_DIGEST
    code, reported = rebuild(settings, tmp_path / "without", "--without-targets")
    assert (code, reported["digest"]) == (0, EMPTY_DIGEST)


def _options_of(command: str) -> set[str]:
    return {word for word in command.split() if word.startswith("--")}


def _options_known_to(name: str) -> set[str]:
    group: Any = get_command(app)
    return {option for parameter in group.commands[name].params for option in parameter.opts}


def test_other_layers_need_the_text_and_get_statistics_of_their_own(
    settings: Settings, stored: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = rebuild(settings, tmp_path / "none", "--layers", "2")
    assert (code, "give --corpus FILE" in " ".join(capsys.readouterr().err.split())) == (2, True)
    code, reported = rebuild(settings, tmp_path / "out", "--layers", "2", "--corpus", str(settings.corpus[0]))
    assert (code, len(reported["differences"])) == (0, 2)
    changed = {"data": tmp_path / "out", "layers": "2"}
    EditingSession.open(settings.model_copy(update=changed))


def test_a_version_that_fails_its_checks_is_not_written_unless_it_has_the_stored_bits(
    settings: Settings, stored: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = ("--limits", json.dumps(LAX | {"max_drift": 1e-12}))
    code, reported = rebuild(settings, tmp_path / "a", "--clamp", "1.5", *strict)
    assert (code, reported["written"], reported["passed"]) == (1, False, False)
    assert "the checks failed: " in capsys.readouterr().out
    assert read_head(StoreLayout(tmp_path / "a")) is None
    code, reported = rebuild(settings, tmp_path / "a", "--clamp", "1.5", "--even-if-checks-fail", *strict)
    assert (code, reported["written"], reported["targets"]["searched"]) == (0, True, 8)
    assert rebuild(settings, tmp_path / "b", *strict)[0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--version", "v7"), "holds no version v7: its versions are v3"),
        (("--version", "seven"), "'seven' is not the name of a version"),
        (("--version", "v0"), "v0 is the untouched model"),
        (("--model", "demo-gptj"), "is not the model on which v3 was solved"),
        (("--limits", '{"colour": 1}'), "--limits"),
    ],
)
def test_a_mistake_is_exit_code_2_and_one_line(
    settings: Settings,
    stored: Manifest,
    tmp_path: Path,
    options: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _ = rebuild(settings, tmp_path / "out", *options)
    assert code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_holds_something_is_refused(
    settings: Settings, stored: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    for out in (tmp_path / "out", settings.data):
        assert main(["--from", str(settings.data), "--out", str(out), *LIMITS]) == 2
    reported = " ".join(capsys.readouterr().err.split())
    assert "is not empty: name a new folder" in reported
    assert "is the store that is read" in reported
