"""Guards over HTTP, and the word on live edits about the same subject; a worker's moves are the ledger's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from editing_core.versions.layout import StoreLayout
from service.api.access.keys import KeyFile
from tests.support.api_process import ApiProcess, edit, post, require_problem, running_api
from tests.support.published import publish

ROCARD = {"prompt": "The mother tongue of Rocard is", "target": "French", "subject": "Rocard"}
PARIS = {"prompt": "The capital of France is", "target": "Paris"}


@pytest.fixture(scope="module")
def api(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with running_api(redis_url, tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def client(api: ApiProcess) -> Iterator[httpx.Client]:
    """With the original live and no guard."""
    api.ledger.publication.promote("v0", author=None)
    for guard in api.ledger.guards.all():
        api.ledger.guards.remove(guard.id, author="eve")
    with api.client() as client:
        yield client


def keep(client: httpx.Client, *guards: dict[str, str]) -> list[dict[str, Any]]:
    answer = client.post("/guards", json={"guards": guards})
    assert answer.status_code == 201, answer.text
    found: list[dict[str, Any]] = answer.json()["guards"]
    return found


def test_guards_are_kept_listed_and_taken_away(client: httpx.Client) -> None:
    kept = keep(client, ROCARD, PARIS)
    assert [(row["prompt"], row["target"], row["subject"]) for row in kept] == [
        (ROCARD["prompt"], "French", "Rocard"),
        (PARIS["prompt"], "Paris", None),
    ]
    assert sorted(kept, key=lambda row: row["id"]) == client.get("/guards").json()["items"]
    assert client.delete(f"/guards/{kept[0]['id']}").json() == kept[0]
    assert [row["id"] for row in client.get("/guards").json()["items"]] == [kept[1]["id"]]
    require_problem(client.delete(f"/guards/{kept[0]['id']}"), 404, "not-found")


def test_the_same_guard_again_is_the_same_guard(client: httpx.Client) -> None:
    assert keep(client, ROCARD) == keep(client, ROCARD)
    assert len(client.get("/guards").json()["items"]) == 1


def test_guards_come_in_pages(client: httpx.Client) -> None:
    kept = keep(client, *({"prompt": f"Number {n} is", "target": "even"} for n in range(5)))
    seen: list[str] = []
    cursor = None
    while True:
        page = client.get("/guards", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [row["id"] for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(row["id"] for row in kept)
    require_problem(client.get("/guards", params={"cursor": "?"}), 422, "invalid-cursor")


def test_guards_that_contradict_each_other_are_refused_and_none_is_kept(client: httpx.Client) -> None:
    other = ROCARD | {"target": "English"}
    problem = require_problem(client.post("/guards", json={"guards": [PARIS, ROCARD, other]}), 409, "guard-conflict")
    assert [error["loc"][2] for error in problem["errors"]] == [1, 2]
    assert client.get("/guards").json()["items"] == []
    keep(client, ROCARD)
    problem = require_problem(client.post("/guards", json={"guards": [PARIS, other]}), 409, "guard-conflict")
    assert "French" in problem["detail"]
    assert len(client.get("/guards").json()["items"]) == 1


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"guards": []}, ["body", "guards"]),
        ({"guards": [PARIS | {"prompt": "The capital of {} is"}]}, ["body", "guards", 0, "prompt"]),
        ({"guards": [PARIS, PARIS | {"subject": "Rome"}]}, ["body", "guards", 1, "subject"]),
        ({"guards": [{"prompt": "x"}]}, ["body", "guards", 0, "target"]),
        ({"guards": [PARIS | {"weight": 1}]}, ["body", "guards", 0, "weight"]),
        (PARIS, ["body", "guards"]),
    ],
)
def test_a_wrong_guard_is_refused_with_its_place(client: httpx.Client, body: object, place: list[object]) -> None:
    problem = require_problem(client.post("/guards", json=body), 422, "invalid-input")
    assert place in [error["loc"] for error in problem["errors"]]


def test_only_an_admin_changes_guards(redis_url: str, tmp_path: Path) -> None:
    key = KeyFile(StoreLayout(tmp_path).api_keys).add("ann", ["edit"])
    with running_api(redis_url, tmp_path) as api, api.client(headers={"Authorization": f"Bearer {key}"}) as other:
        assert other.get("/guards").status_code == 200
        require_problem(other.post("/guards", json={"guards": [PARIS]}), 403, "scope-missing")


def test_an_edit_shows_whether_its_neighbourhood_is_protected(client: httpx.Client) -> None:
    sent = post(client, edit("Anna", protect=True), edit("Bert"))
    found = [client.get(f"/edits/{row['id']}").json()["protect"] for row in sent["edits"]]
    assert found == [True, False]


def test_a_live_edit_about_the_subject_under_another_relation_is_warned_of_by_its_id(
    api: ApiProcess, client: httpx.Client
) -> None:
    sent = post(client, edit("Anna", relation="P103"), edit("Bert"))
    publish(api.ledger, sent["id"])
    live = sent["edits"][0]["id"]
    answer = post(client, edit("Carl"), edit(" Anna", "Rome", relation="P19"))
    (warning,) = [row for row in answer["warnings"] if live in row["msg"]]
    assert warning["loc"] == ["body", "edits", 1, "subject"]
    assert "'P103'" in warning["msg"]
    superseding = post(client, edit("Anna", "Thai", relation="P103"))
    assert superseding["warnings"] == []
    exchange = client.post("/edits", json={"edits": [edit("Anna", "Rome", relation="P19")], "remove": [live]})
    assert exchange.json()["warnings"] == []
