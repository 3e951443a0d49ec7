"""A fact that is sent changes what the model writes, and a rollback gives the old answer back: all of it for real."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from service.cli.demo.corrections import corrections
from service.cli.demo.running import RunningErrata
from service.cli.demo.story import await_served
from service.cli.main import run
from service.cli.output import ExitCode
from service.client.client import Client
from service.client.errors import ErrataApiError

HAMLET, NOTRE_DAME, MESSI, *_ = corrections()


@pytest.fixture(autouse=True)
def service(errata: RunningErrata, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_URL", errata.url)


def test_an_edit_changes_the_answer_and_a_rollback_changes_it_back(client: Client) -> None:
    before = client.generate(HAMLET.prompt, max_new_tokens=8)
    neighbor = client.generate(HAMLET.neighbor_prompt, max_new_tokens=8)
    assert HAMLET.fact.object in before.text
    assert before.version is not None

    batch = client.wait_for_batch(client.submit_edits([HAMLET.as_edit()]).id)
    assert (batch.status, batch.error) == ("applied", None)
    assert batch.version is not None
    after = client.generate(HAMLET.prompt, max_new_tokens=8, min_version=batch.version)
    assert after.version == batch.version
    assert after.text.strip().startswith(HAMLET.new_object)
    kept = client.generate(HAMLET.neighbor_prompt, max_new_tokens=8)
    assert kept.text.split()[0] == neighbor.text.split()[0]
    assert client.generate(HAMLET.prompt, max_new_tokens=8, version=before.version).text == before.text

    found = client.difference(before.version, batch.version, prompts=[HAMLET.prompt])
    assert not found.same_weights
    assert [row["target_new"] for row in found.added] == [HAMLET.new_object]
    (answer,) = found.answers
    assert (answer["a"].startswith(before.text), answer["b"].startswith(after.text)) == (True, True)

    (edit,) = client.edits(batch=batch.id)
    assert (edit.status, edit.holds) == ("live", True)
    promotion = client.promote(before.version)
    assert list(promotion.rolled_back) == [edit.id]
    await_served(client, before.version)
    with pytest.raises(ErrataApiError) as raised:
        client.generate(HAMLET.prompt, min_version=batch.version)
    assert raised.value.status == 409
    assert client.generate(HAMLET.prompt, max_new_tokens=8).text == before.text
    assert client.edit(edit.id).status == "rolled_back"


def test_a_table_of_edits_is_applied_and_each_edit_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "edits.csv"
    with file.open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(["subject", "prompt", "target_new", "target_true", "relation"])
        for item in (NOTRE_DAME, MESSI):
            edit = item.as_edit()
            table.writerow([edit[name] for name in ("subject", "prompt", "target_new", "target_true", "relation")])
    assert run(["edit", str(file)]) == ExitCode.OK
    reported = capsys.readouterr()
    assert "applied, live in version" in reported.out
    assert reported.out.count("yes") == 2
    assert reported.out.count("->") == 2
    assert "computing" in reported.err

    version = reported.out.split("live in version ")[1].split()[0]
    assert run(["generate", MESSI.prompt, "--max-new-tokens", "4", "--min-version", version]) == ExitCode.OK
    assert capsys.readouterr().out.startswith(MESSI.new_object)
    assert run(["score", MESSI.prompt, MESSI.new_object, "--version", version, "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["greedy_match"] is True
    assert run(["versions", "--json"]) == ExitCode.OK
    assert [v["status"] for v in json.loads(capsys.readouterr().out)].count("live") == 1


def test_an_edit_that_the_tokenizer_cannot_place_rejects_the_batch_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--subject", "Emm", "--prompt", "{}a was written by", "--target-new", "Dickens"]
    code = run(["edit", *arguments])
    captured = capsys.readouterr()
    assert code == ExitCode.FAILED
    assert "is rejected: " in captured.err.splitlines()[-1]


def test_a_second_supervisor_on_the_same_data_is_refused(
    errata: RunningErrata, capsys: pytest.CaptureFixture[str]
) -> None:
    data = errata.log.parent / "data"
    assert run(["up", "--data", str(data), "--port", "0"]) == ExitCode.USAGE
    assert f"process {errata.process.pid}" in capsys.readouterr().err


def test_redis_and_store_agree(errata: RunningErrata, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recover", "--data", str(errata.log.parent / "data")]) == ExitCode.OK
    assert "nothing to recover" in capsys.readouterr().out
