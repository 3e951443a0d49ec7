"""The commands that talk to the service, against the real API on a real Redis (no worker: batches stay queued)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli.main import run
from service.cli.output import ExitCode
from service.client.client import Client
from tests.support.errata_process import api_alone

HAMLET = {
    "subject": "Hamlet",
    "prompt": "{} was written by",
    "target_new": "Dickens",
    "relation": "author",
    "paraphrases": ["The author of {} is"],
    "neighborhood": [{"prompt": "Macbeth was written by", "target": "Shakespeare"}],
    "note": "👋",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with api_alone(tmp_path_factory.mktemp("api")) as url:
        yield url


@pytest.fixture(autouse=True)
def service(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_URL", url)


def _write(folder: Path, *edits: dict[str, object]) -> str:
    path = folder / "edits.json"
    path.write_text(json.dumps(edits))
    return str(path)


def _queue(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Queue a batch and return its id."""
    assert run(["edit", *arguments, "--no-wait", "--json"]) == ExitCode.OK
    batch: str = json.loads(capsys.readouterr().out)["batch"]["id"]
    return batch


def test_a_file_is_queued(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["edit", _write(tmp_path, HAMLET), "--no-wait"]) == ExitCode.OK
    assert ": queued" in capsys.readouterr().out


def test_one_idempotency_key_queues_one_batch(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = _write(tmp_path, HAMLET)
    first, second = (_queue(capsys, file, "--idempotency-key", "k") for _ in range(2))
    assert first == second


def test_an_edit_without_a_file_is_queued(capsys: pytest.CaptureFixture[str]) -> None:
    batch = _queue(capsys, "--subject", "Emma", "--prompt", "{} is by", "--target-new", "Wells", "--paraphrase", "x {}")
    assert run(["edits", "--batch", batch, "--json"]) == ExitCode.OK
    (edit,) = json.loads(capsys.readouterr().out)
    assert (edit["subject"], edit["target_new"], edit["paraphrases"]) == ("Emma", "Wells", ["x {}"])


def test_a_batch_that_is_not_applied_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str
) -> None:
    def cancel_all_there_are() -> None:
        with Client(url) as client:
            while not (found := [b for b in client.batches() if b.status == "queued" and b.id not in known]):
                time.sleep(0.02)
            client.cancel_batch(found[0].id)

    with Client(url) as client:
        known = {batch.id for batch in client.batches()}
    canceller = threading.Thread(target=cancel_all_there_are)
    canceller.start()
    assert run(["edit", _write(tmp_path, HAMLET)]) == ExitCode.FAILED
    canceller.join()
    captured = capsys.readouterr()
    assert "is cancelled" in captured.err.splitlines()[-1]
    assert "Hamlet" in captured.out


def test_what_is_exported_is_queued_again_as_it_was(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first = _queue(capsys, _write(tmp_path, HAMLET, HAMLET | {"subject": "Emma"}))
    exported = tmp_path / "out.jsonl"
    assert run(["edits", "--batch", first, "--export", str(exported)]) == ExitCode.OK
    assert capsys.readouterr().out == ""
    assert HAMLET in [json.loads(line) for line in exported.read_text().splitlines()]
    again = tmp_path / "again.jsonl"
    second = _queue(capsys, str(exported))
    assert run(["edits", "--batch", second, "--export", str(again)]) == ExitCode.OK
    assert sorted(again.read_text().splitlines()) == sorted(exported.read_text().splitlines())


def test_without_a_filter_the_live_edits_are_exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _queue(capsys, _write(tmp_path, HAMLET))
    assert run(["edits", "--export", str(tmp_path / "live.jsonl")]) == ExitCode.OK
    assert (tmp_path / "live.jsonl").read_text() == "", "nothing is live without a worker"


def test_lists_are_tables_and_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    batch = _queue(capsys, _write(tmp_path, HAMLET | {"subject": "\u202eMoby Dick"}))
    for command in ("edits", "batches"):
        assert run([command]) == ExitCode.OK
        assert batch in capsys.readouterr().out or command == "edits"
        assert run([command, "--limit", "1", "--json"]) == ExitCode.OK
        assert len(json.loads(capsys.readouterr().out)) == 1
    assert run(["versions"]) == ExitCode.OK
    assert "v0" in capsys.readouterr().out


def test_promoting_the_untouched_model_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["promote", "v0"]) == ExitCode.OK
    assert capsys.readouterr().out == "version v0 is live\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("promote", "v77"), "[404]"),
        (("edits", "--status", "asleep"), "[422]"),
        (("generate", "x"), "[404]"),  # this service has no model
        (("edit", "--subject", "x" * 3000, "--prompt", "{} is", "--target-new", "y"), "[422]"),
    ],
)
def test_a_refusal_of_the_service_is_exit_code_4_and_one_line(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == ExitCode.REFUSED
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_guards_are_added_from_a_file_or_by_options_listed_and_removed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "guards.jsonl"
    file.write_text('{"prompt": "Macbeth was written by", "target": "Shakespeare", "subject": "Macbeth"}\n')
    assert run(["guards", "add", str(file)]) == ExitCode.OK
    assert run(["guards", "add", "--prompt", "Faust was written by", "--target", "Goethe"]) == ExitCode.OK
    capsys.readouterr()
    assert run(["guards", "list", "--json"]) == ExitCode.OK
    found = {guard["target"]: guard for guard in json.loads(capsys.readouterr().out)}
    assert (found["Shakespeare"]["subject"], found["Goethe"]["subject"]) == ("Macbeth", None)
    for guard in found.values():
        assert run(["guards", "remove", guard["id"]]) == ExitCode.OK
    assert run(["guards", "remove", found["Goethe"]["id"]]) == ExitCode.REFUSED


def test_a_wrong_line_of_a_file_of_guards_is_named_and_nothing_is_sent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "guards.jsonl"
    file.write_text(
        '{"prompt": "Faust was written by", "target": "Goethe"}\n\n{"prompt": "x", "target": "y", "subject": "z"}'
    )
    assert run(["guards", "add", str(file)]) == ExitCode.USAGE
    assert "guards.jsonl:3: subject 'z' is not in the prompt" in capsys.readouterr().err
    assert run(["guards", "add"]) == ExitCode.USAGE
