"""The records over HTTP and on the command line; what a worker would do is done through the ledger's own moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from service.api.access.keys import KeyFile
from service.cli.main import run
from service.cli.output import ExitCode
from tests.support.api_process import ApiProcess, edit, post, require_problem, running_api
from tests.support.published import publish
from worker.protocol.keys import Key
from worker.upkeep.audit_file import copy_audit


@pytest.fixture(scope="module")
def running(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    data = tmp_path_factory.mktemp("data")
    with running_api(redis_url, data, keep_versions=1) as api:
        yield api


@pytest.fixture
def api(running: ApiProcess, monkeypatch: pytest.MonkeyPatch) -> ApiProcess:
    """The same process with an empty ledger and no copy of an audit."""
    running.queue.redis.flushall()
    StoreLayout(running.data).audit_file.unlink(missing_ok=True)
    monkeypatch.setenv("ERRATA_URL", running.url)
    return running


@pytest.fixture
def client(api: ApiProcess) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


def test_audit_is_paged_and_found_by_one_id(api: ApiProcess, client: httpx.Client) -> None:
    batch = post(client, edit("Anna"))
    version = publish(api.ledger, batch["id"])
    post(client, edit("Bert"))
    page = client.get("/audit", params={"limit": 3}).json()
    assert [row["number"] for row in page["items"]] == [4, 3, 2]
    rest = client.get("/audit", params={"cursor": page["next"]}).json()
    assert [(row["what"], row["who"], row["details"]) for row in rest["items"]] == [
        ("batch.accepted", None, {"batch": batch["id"], "num_edits": 1})
    ]
    assert rest["next"] is None
    for wanted in ({"edit": batch["edits"][0]["id"]}, {"batch": batch["id"]}):
        found = client.get("/audit", params=wanted).json()["items"]
        assert [row["what"] for row in found] == ["batch.applied", "batch.accepted"]
    assert client.get("/audit", params={"version": version}).json()["items"][0]["details"]["revision"] == 1
    require_problem(client.get("/audit", params={"batch": "b", "version": "v1"}), 422, "invalid-input")
    require_problem(client.get("/audit", params={"nobody": "b"}), 422, "invalid-input")


def test_missing_and_changed_entries_are_reported_in_the_ledger_and_in_the_copy(
    api: ApiProcess, client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    for subject in ("Anna", "Bert", "Carl"):
        post(client, edit(subject))
    layout = StoreLayout(api.data)
    copy_audit(api.ledger, layout)
    verified = client.get("/audit/verification").json()
    assert (verified["whole"], verified["ledger"]["entries"], verified["file"]["entries"]) == (True, 3, 3)
    assert run(["audit", "--verify"]) == run(["audit", "--verify", "--file", str(layout.audit_file)]) == ExitCode.OK
    assert "3 entries, 3 of them on disk" in capsys.readouterr().out

    api.queue.redis.rpop(api.ledger.keys.at(Key.AUDIT))
    verified = client.get("/audit/verification").json()
    assert (verified["whole"], verified["ledger"]["fault"]) == (False, None)
    assert verified["difference"] == "the copy holds entry 3, which the ledger lacks"
    lines = layout.audit_file.read_text().splitlines(keepends=True)
    layout.audit_file.write_text("".join([lines[0], *lines[2:]]))
    assert run(["audit", "--verify"]) == ExitCode.FAILED
    assert "entry 2: is numbered 3" in capsys.readouterr().err
    assert run(["audit", "--verify", "--file", str(layout.audit_file)]) == ExitCode.FAILED


def test_provenance_of_an_edit_is_reported_once_a_version_has_it(api: ApiProcess, client: httpx.Client) -> None:
    batch = post(client, edit("Anna", source="https://example.org/a"))
    (row,) = client.get("/edits", params={"subject": "Anna"}).json()["items"]
    assert (row["made_with"], row["purged"], row["source"]) == (None, None, "https://example.org/a")
    assert client.get("/versions/v0").json()["settings"] is None
    bind_identity(
        api.data, model="f" * 64, model_source="./m", settings="sha256:1", settings_values={"prior_weight": 15}
    )
    version = publish(api.ledger, batch["id"])
    (row,) = client.get("/edits", params={"subject": "Anna"}).json()["items"]
    assert (row["batch"], row["version"]) == (batch["id"], version)
    assert row["made_with"] == {"model": "f" * 64, "model_source": "./m", "settings": "sha256:1"}
    assert client.get(f"/edits/{row['id']}").json()["made_with"] == row["made_with"]
    shown = client.get(f"/versions/{version}").json()
    assert shown["settings"] == {"fingerprint": "sha256:1", "values": {"prior_weight": 15}}
    assert shown["model"]["fingerprint"] == "f" * 64


def test_pins_and_retention_are_the_same_over_http_and_on_the_command_line(
    api: ApiProcess, client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    for subject in ("Anna", "Bert", "Carl"):
        publish(api.ledger, post(client, edit(subject))["id"])
    assert client.put("/versions/v1/pin").json()["pinned"] is True
    assert client.put("/versions/v1/pin").status_code == 200
    kept = client.get("/retention").json()
    assert kept["keep_versions"] == 1
    assert [(row["version"], row["why"]) for row in kept["versions"]] == [
        ("v3", "live"),
        ("v2", None),
        ("v1", "pinned"),
    ]
    assert run(["versions", "--retention", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == kept
    assert [row["pinned"] for row in client.get("/versions").json()["items"]] == [False, False, True, False]
    assert run(["unpin", "v1"]) == run(["pin", "v2"]) == ExitCode.OK
    assert [row["why"] for row in client.get("/retention").json()["versions"]] == ["live", "pinned", None]
    require_problem(client.put("/versions/v9/pin"), 404, "not-found")
    require_problem(client.delete("/versions/v9/pin"), 404, "not-found")


def test_purge_is_asked_once_and_refused_while_the_edit_is_needed(
    api: ApiProcess, client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = post(client, edit("Anna"))
    (row,) = batch["edits"]
    path = f"/edits/{row['id']}/purge"
    assert "cancel it" in require_problem(client.post(path), 409, "edit-not-erasable")["detail"]
    publish(api.ledger, batch["id"])
    assert "take it out first" in require_problem(client.post(path), 409, "edit-not-erasable")["detail"]
    client.post("/versions/v0/promote")
    answer = client.post(path, params={"reason": "on request"})
    asked = answer.json()
    assert (answer.status_code, asked["state"], asked["versions"]) == (202, "asked", ["v1"])
    assert client.post(path).json() == asked
    require_problem(client.post("/versions/v1/promote"), 404, "not-found")
    assert run(["purge", row["id"], "--no-wait"]) == ExitCode.OK
    assert "will be erased by the worker" in capsys.readouterr().out
    api.ledger.erasure.erase_row(row["id"])
    api.ledger.erasure.end(row["id"], "purge.done")
    assert (client.post(path).status_code, client.post(path).json()["state"]) == (200, "done")
    shown = client.get(f"/edits/{row['id']}").json()
    assert (shown["subject"], shown["purged"]["hash"]) == ("", asked["hash"])
    assert client.get("/edits", params={"subject": "Anna"}).json()["items"] == []
    reported = client.get("/audit", params={"edit": row["id"]}).json()["items"]
    assert [entry["what"] for entry in reported][:2] == ["purge.done", "purge.asked"]
    assert reported[1]["details"]["reason"] == "on request"
    require_problem(client.post("/edits/e-none/purge"), 404, "not-found")


def test_records_need_the_widest_scope(redis_url: str, tmp_path: Path) -> None:
    key = KeyFile(StoreLayout(tmp_path).api_keys).add("ed", ["edit"])
    asked = [
        ("GET", "/audit"),
        ("GET", "/audit/verification"),
        ("PUT", "/versions/v0/pin"),
        ("DELETE", "/versions/v0/pin"),
        ("POST", "/edits/e/purge"),
    ]
    with (
        running_api(redis_url, tmp_path) as api,
        api.client(headers={"Authorization": f"Bearer {key}"}) as client,
    ):
        for method, path in asked:
            require_problem(client.request(method, path), 403, "scope-missing")


def test_audit_on_the_command_line_names_author_and_action(
    api: ApiProcess, client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = post(client, edit("Anna"))
    assert run(["audit", "--batch", batch["id"]]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "batch.accepted" in shown
    assert batch["id"] in shown
    assert "Anna" not in shown
    assert run(["audit", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)[0]["number"] == 1
