"""Edits as a set over HTTP: what an answer tells of supersedes, repeats and take-outs, candidates, and comparing.

What a worker would do is done through the ledger's own moves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from service.cli.main import run
from service.cli.output import ExitCode
from tests.support.api_process import ApiProcess, edit, post, running_api
from tests.support.published import publish


@pytest.fixture(scope="module")
def api(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with running_api(redis_url, tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def client(api: ApiProcess) -> Iterator[httpx.Client]:
    """With the original live, so that every test has its own set."""
    api.ledger.publication.promote("v0", author=None)
    with api.client() as client:
        yield client


def live(api: ApiProcess, client: httpx.Client, *edits: dict[str, object]) -> list[str]:
    """Make these edits live in one batch; their ids."""
    sent = post(client, *edits)
    publish(api.ledger, sent["id"])
    return [row["id"] for row in sent["edits"]]


def test_the_answer_names_the_edits_that_an_edit_supersedes_or_repeats(api: ApiProcess, client: httpx.Client) -> None:
    old, same = live(api, client, edit("Anna"), edit("Bert"))
    sent = post(client, edit("  Anna", "Thai"), edit("Bert"), edit("Carl"))
    assert [(row["supersedes"], row["same_as"]) for row in sent["edits"]] == [(old, None), (None, same), (None, None)]


def test_removing_an_edit_is_a_batch_that_names_it_and_the_edit_it_restores(
    api: ApiProcess, client: httpx.Client
) -> None:
    (old,) = live(api, client, edit("Anna"))
    (new,) = live(api, client, edit("Anna", "Thai"))
    answer = client.delete(f"/edits/{new}")
    sent = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/batches/{sent['id']}")
    assert (sent["status"], sent["edits"]) == ("ready", [])
    assert [(row["id"], row["target_new"], row["restores"]) for row in sent["removed"]] == [(new, "Thai", old)]
    publish(api.ledger, sent["id"])
    assert client.get(f"/edits/{old}").json()["status"] == "live"
    assert client.get(f"/edits/{new}").json()["status"] == "taken_out"
    assert client.get(f"/batches/{sent['id']}").json()["edit_counts"]["removed"] == 1


def test_edits_can_be_taken_out_together_with_new_ones(api: ApiProcess, client: httpx.Client) -> None:
    (old,) = live(api, client, edit("Anna"))
    answer = client.post("/edits", json={"edits": [edit("Bert")], "remove": [old]})
    assert (answer.status_code, len(answer.json()["edits"]), len(answer.json()["removed"])) == (202, 1, 1)
    publish(api.ledger, answer.json()["id"])
    found = client.get("/edits", params={"status": "live"}).json()["items"]
    assert [row["subject"] for row in found] == ["Bert"]


def test_an_edit_beneath_a_live_one_can_be_taken_out_too(api: ApiProcess, client: httpx.Client) -> None:
    (old,) = live(api, client, edit("Anna"))
    (new,) = live(api, client, edit("Anna", "Thai"))
    sent = client.delete(f"/edits/{old}").json()
    assert [(row["id"], row["restores"]) for row in sent["removed"]] == [(old, None)]
    publish(api.ledger, sent["id"])
    assert [client.get(f"/edits/{row}").json()["status"] for row in (old, new)] == ["taken_out", "live"]


def test_only_edits_in_force_can_be_taken_out(api: ApiProcess, client: httpx.Client) -> None:
    waiting = post(client, edit("Anna"))["edits"][0]["id"]
    refused = client.delete(f"/edits/{waiting}")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/edit-not-live")
    assert f"edit {waiting} is pending" in refused.json()["detail"]
    (gone,) = live(api, client, edit("Bert"))
    publish(api.ledger, client.delete(f"/edits/{gone}").json()["id"])
    assert client.delete(f"/edits/{gone}").status_code == 409
    assert client.delete("/edits/e0").status_code == 404
    refused = client.post("/edits", json={"edits": [edit("Carl")], "remove": [gone]})
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (409, ["body", "remove"])


def test_taking_out_under_an_idempotency_key_is_answered_the_same_after_it_is_done(
    api: ApiProcess, client: httpx.Client
) -> None:
    (doomed,) = live(api, client, edit("Anna"))
    key = {"Idempotency-Key": f"remove-{doomed}"}
    first = client.delete(f"/edits/{doomed}", headers=key).json()
    assert [row["id"] for row in first["removed"]] == [doomed]
    publish(api.ledger, first["id"])
    again = client.delete(f"/edits/{doomed}", headers=key)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["removed"] == first["removed"]


def test_an_id_that_no_edit_can_have_is_not_found(client: httpx.Client) -> None:
    answer = client.delete(f"/edits/{'e' * 300}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


def test_options_of_a_batch_reach_the_ledger(api: ApiProcess, client: httpx.Client) -> None:
    answer = client.post("/edits", json={"edits": [edit("Anna")], "promote": "manual", "dry_run": True})
    options = api.ledger.batches.get(answer.json()["id"]).spec.options
    assert (options.promote, options.dry_run, options.is_alone) == ("manual", True, True)


def test_a_candidate_is_listed_promoted_once_its_parent_is_live_and_discarded(
    api: ApiProcess, client: httpx.Client
) -> None:
    live(api, client, edit("Anna"))
    made = publish(api.ledger, post(client, edit("Bert"))["id"], candidate_until="2999-01-01T00:00:00.000Z")
    shown = client.get(f"/versions/{made}").json()
    assert (shown["status"], shown["expires"]) == ("candidate", "2999-01-01T00:00:00.000Z")
    assert made in [row["id"] for row in client.get("/versions").json()["items"]]
    live(api, client, edit("Carl"))
    stale = client.post(f"/versions/{made}/promote")
    assert (stale.status_code, stale.json()["type"]) == (409, "/problems/stale-candidate")
    client.post(f"/versions/{shown['parent']}/promote")
    promoted = client.post(f"/versions/{made}/promote").json()
    assert (promoted["status"], promoted["restored"], promoted["rolled_back"]) == ("live", [], [])
    refused = client.delete(f"/versions/{made}")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-a-candidate")


def test_a_discarded_candidate_says_so_and_its_batch_too(api: ApiProcess, client: httpx.Client) -> None:
    batch = post(client, edit("Bert"))["id"]
    made = publish(api.ledger, batch, candidate_until="2999-01-01T00:00:00.000Z")
    assert client.get(f"/batches/{batch}").json()["status"] == "candidate"
    assert client.delete(f"/versions/{made}").json()["status"] == "discarded"
    assert client.get(f"/batches/{batch}").json()["status"] == "discarded"
    assert client.post(f"/versions/{made}/promote").status_code == 404
    assert client.delete("/versions/v999").status_code == 404


def test_two_versions_are_compared_by_their_live_edits(api: ApiProcess, client: httpx.Client) -> None:
    old, gone = live(api, client, edit("Anna"), edit("Bert"))
    before = api.ledger.versions.pointer().version
    sent = client.post("/edits", json={"edits": [edit("Anna", "Thai"), edit("Carl")], "remove": [gone]}).json()
    after = publish(api.ledger, sent["id"])
    new, added = (row["id"] for row in sent["edits"])
    found = client.get(f"/versions/{before}/diff/{after}").json()
    assert [row["id"] for row in found["added"]] == [added]
    assert [(row["old"]["id"], row["new"]["id"]) for row in found["superseded"]] == [(old, new)]
    assert [row["id"] for row in found["reverted"]] == [gone]
    back = client.get(f"/versions/{after}/diff/{before}").json()
    assert [row["id"] for row in back["added"]] == [gone]
    assert [row["id"] for row in back["reverted"]] == [added]
    assert client.get(f"/versions/{before}/diff/v999").status_code == 404
    refused = client.get(f"/versions/{before}/diff/{after}", params={"prompt": "Anna is"})
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["query", "prompt"])


def test_the_command_prints_the_edits_that_it_takes_out_and_those_that_come_back(
    api: ApiProcess, client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = live(api, client, edit("Anna"))
    (new,) = live(api, client, edit("Anna", "Thai"))
    assert run(["take-out", new, "--no-wait", "--url", api.url]) == ExitCode.OK
    assert {new, "Anna", "Thai", old} <= set(capsys.readouterr().out.split())
    assert run(["take-out", new, "--no-wait", "--json", "--url", api.url]) == ExitCode.OK
    (row,) = json.loads(capsys.readouterr().out)["removed"]
    assert (row["id"], row["restores"]) == (new, old)
