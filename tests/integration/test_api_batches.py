"""Edits and batches over HTTP; what a worker would do is done through the ledger's own moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api_process import ApiProcess, edit, post, require_problem, running_api
from tests.support.published import publish
from worker.protocol.keys import Key


@pytest.fixture(scope="module")
def running(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with running_api(redis_url, tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def api(running: ApiProcess) -> ApiProcess:
    """The same process with an empty ledger."""
    running.queue.redis.flushall()
    return running


@pytest.fixture
def client(api: ApiProcess) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


JSON = {"Content-Type": "application/json"}


def events_in(text: str) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields.get("event") == "batch":
            found.append((int(fields["id"]), json.loads(fields["data"])))
    return found


def test_an_accepted_batch_is_in_the_ledger_and_its_work_in_the_queue(api: ApiProcess, client: httpx.Client) -> None:
    answer = client.post("/edits", json={"edits": [edit("Anna"), edit("Bert")]})
    assert answer.status_code == 202
    accepted = answer.json()
    assert answer.headers["Location"] == accepted["links"]["self"] == f"/batches/{accepted['id']}"
    assert [(row["subject"], row["status"], row["supersedes"]) for row in accepted["edits"]] == [
        ("Anna", "pending", None),
        ("Bert", "pending", None),
    ]
    assert [row.edit.subject for row in api.ledger.batches.edits(accepted["id"])] == ["Anna", "Bert"]
    assert api.queue.depth() == 1
    assert client.get(accepted["links"]["self"]).json()["status"] == "queued"
    assert len(client.get(accepted["links"]["edits"]).json()["items"]) == 2


@pytest.mark.parametrize(
    "subject",
    [
        "🎭 Theatre 👩\u200d👧",
        "محمد بن موسى",
        "עברית \u200fRTL",
        "Nguye\u0302\u0303n",
        "e\u0301",
        "平仮名",
        "Ⅷ",
        "a\u200db",
        "İstanbul",
    ],
)
def test_any_script_works_as_a_subject_and_comes_back_unchanged(client: httpx.Client, subject: str) -> None:
    accepted = post(client, edit(subject))
    assert client.get(f"/edits/{accepted['edits'][0]['id']}").json()["subject"] == subject
    found = client.get("/edits", params={"subject": f"  {subject} "}).json()["items"]
    assert [row["id"] for row in found] == [accepted["edits"][0]["id"]]


def test_composed_and_decomposed_subjects_are_one_subject(client: httpx.Client) -> None:
    answer = client.post("/edits", json={"edits": [edit("Andr\u00e9"), edit("Andre\u0301", "Thai")]})
    assert answer.status_code == 409


def test_the_same_idempotency_key_and_body_give_the_same_batch_once(api: ApiProcess, client: httpx.Client) -> None:
    key = {"Idempotency-Key": "order 7"}
    first = post(client, edit("Anna"), **key)
    again = client.post("/edits", content=json.dumps({"edits": [edit("Anna")]}, indent=3), headers={**key, **JSON})
    assert again.status_code == 200
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.json()["id"], again.json()["edits"]) == (first["id"], first["edits"])
    assert len(api.ledger.batches.page().items) == 1


def test_the_same_idempotency_key_with_another_body_is_refused(api: ApiProcess, client: httpx.Client) -> None:
    post(client, edit("Anna"), **{"Idempotency-Key": "k"})
    answer = client.post("/edits", json={"edits": [edit("Anna", "Thai")]}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/idempotency-mismatch")
    assert len(api.ledger.batches.page().items) == 1


def test_one_idempotency_key_sent_many_times_at_once_makes_one_batch(api: ApiProcess) -> None:
    def send(_: int) -> str:
        with api.client() as client:
            answer = client.post("/edits", json={"edits": [edit("Anna")]}, headers={"Idempotency-Key": "storm"})
            return str(answer.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(send, range(16)))) == 1
    assert len(api.ledger.batches.page().items) == 1


def test_an_edit_names_the_live_one_that_it_supersedes(api: ApiProcess, client: httpx.Client) -> None:
    old = post(client, edit("Anna"), edit("Bert"))
    publish(api.ledger, old["id"])
    new = post(client, edit("  Anna ", "Thai"), edit("Carl"))
    assert [row["supersedes"] for row in new["edits"]] == [old["edits"][0]["id"], None]
    publish(api.ledger, new["id"])
    assert client.get(f"/edits/{old['edits'][0]['id']}").json()["status"] == "superseded"
    live = client.get("/edits", params={"status": "live"}).json()["items"]
    assert sorted(row["subject"].strip() for row in live) == ["Anna", "Bert", "Carl"]


def test_doubtful_edits_are_taken_with_a_warning(client: httpx.Client) -> None:
    accepted = post(client, edit("Anna", target_true="English"), edit("Bert", paraphrases=["What does one speak?"]))
    assert [warning["loc"] for warning in accepted["warnings"]] == [
        ["body", "edits", 0, "target_new"],
        ["body", "edits", 1, "paraphrases"],
    ]


def test_a_batch_reports_how_many_edits_hold_and_which_do_not(api: ApiProcess, client: httpx.Client) -> None:
    accepted = post(client, *(edit(f"Person {i}") for i in range(25)))
    version = publish(api.ledger, accepted["id"], holds=False)
    batch = client.get(accepted["links"]["self"]).json()
    assert (batch["status"], batch["version"], batch["report"]) == ("applied", version, {"passed": True})
    assert batch["edit_counts"] == {"total": 25, "removed": 0, "by_status": {"live": 25}, "holding": 0}
    assert [row["id"] for row in batch["edits"] if row["holds"] is False] == [row["id"] for row in accepted["edits"]]
    assert client.get(f"/edits/{accepted['edits'][3]['id']}").json()["report"] == {"holds": False}


def test_a_batch_has_one_shape_however_it_is_asked_for(api: ApiProcess, client: httpx.Client) -> None:
    accepted = post(client, edit("Anna"), edit("Bert"))
    asked = client.get(accepted["links"]["self"]).json()
    assert asked == accepted
    with ThreadPoolExecutor(1) as pool, api.client() as other:
        key = {"Idempotency-Key": "shape"}
        waiting = pool.submit(
            client.post, "/edits", params={"wait": 30}, json={"edits": [edit("Anna", "Thai")]}, headers=key
        )
        while len(batches := other.get("/batches").json()["items"]) < 2:
            assert not waiting.done()
        publish(api.ledger, batches[0]["id"])
        waited = waiting.result().json()
        replayed = other.post("/edits", json={"edits": [edit("Anna", "Thai")]}, headers=key).json()
        asked = other.get(waited["links"]["self"]).json()
    for answer in (waited, replayed, asked):
        answer.pop("updated")  # the steps of the test's own commit touch the batch once more
    assert waited == replayed == asked
    assert [row["status"] for row in asked["edits"]] == ["live"]


def test_a_batch_can_be_asked_for_without_its_edits(client: httpx.Client) -> None:
    accepted = post(client, edit("Anna"))
    (listed,) = client.get("/batches").json()["items"]
    assert client.get(accepted["links"]["self"], params={"edits": False}).json() == listed
    assert "edits" not in listed
    assert listed["edit_counts"] == {"total": 1, "removed": 0}


def test_waiting_gives_the_batch_at_its_end(api: ApiProcess) -> None:
    with ThreadPoolExecutor(1) as pool, api.client() as client, api.client() as other:
        waiting = pool.submit(client.post, "/edits", params={"wait": 30}, json={"edits": [edit("Anna")]})
        while not (batches := other.get("/batches").json()["items"]):
            assert not waiting.done()
        publish(api.ledger, batches[0]["id"])
        answer = waiting.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "applied")
    assert answer.json()["edit_counts"]["holding"] == 1
    assert [row["subject"] for row in answer.json()["edits"]] == ["Anna"]


def test_waiting_names_a_replica_that_does_not_serve_the_version_in_time(api: ApiProcess) -> None:
    stuck = api.ledger.replicas.announcement("stuck-1")
    stuck.serve(api.ledger.versions.pointer().revision)
    with ThreadPoolExecutor(1) as pool, api.client() as client, api.client() as other:
        waiting = pool.submit(client.post, "/edits", params={"wait": 3}, json={"edits": [edit("Anna")]})
        while not (batches := other.get("/batches").json()["items"]):
            assert not waiting.done()
        publish(api.ledger, batches[0]["id"])
        answer = waiting.result()
    stuck.withdraw()
    assert (answer.status_code, answer.json()["status"]) == (202, "applied")
    (warning,) = answer.json()["warnings"]
    assert (warning["loc"], "stuck-1" in warning["msg"]) == (["query", "wait"], True)


def test_waiting_in_vain_gives_the_batch_as_accepted(client: httpx.Client) -> None:
    answer = client.post("/edits", params={"wait": 0.3}, json={"edits": [edit("Anna")]})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def test_events_report_each_change_and_end_when_the_batch_is_cancelled(api: ApiProcess, client: httpx.Client) -> None:
    batch = post(client, edit("Anna"))["id"]
    with client.stream("GET", f"/batches/{batch}/events") as stream, api.client() as other:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        seen = [next(lines) for _ in range(5)]
        assert other.delete(f"/batches/{batch}").json()["status"] == "cancelled"
        seen += lines
    events = events_in("\n".join(seen))
    assert [body["status"] for _, body in events] == ["queued", "cancelled"]
    assert events[-1][1] == client.get(f"/batches/{batch}").json()


def test_events_go_on_after_the_last_one_seen(client: httpx.Client) -> None:
    batch = post(client, edit("Anna"))["id"]
    with client.stream("GET", f"/batches/{batch}/events") as stream:
        lines = stream.iter_lines()
        [(number, _)] = events_in("\n".join(next(lines) for _ in range(6)))
    client.delete(f"/batches/{batch}")
    later = client.get(f"/batches/{batch}/events", headers={"Last-Event-ID": str(number)})
    [(last, body)] = events_in(later.text)
    assert (last > number, body["status"]) == (True, "cancelled")
    assert client.get(f"/batches/{batch}/events", headers={"Last-Event-ID": str(last)}).status_code == 204


def test_an_applied_batch_cannot_be_cancelled(api: ApiProcess, client: httpx.Client) -> None:
    batch = post(client, edit("Anna"))["id"]
    publish(api.ledger, batch)
    answer = client.delete(f"/batches/{batch}")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/batch-not-cancellable")
    assert client.get(f"/batches/{batch}").json()["status"] == "applied"


def test_a_full_queue_is_a_429_with_retry_after(redis_url: str, tmp_path: Path) -> None:
    with running_api(redis_url, tmp_path, max_open_batches=1) as full, full.client() as client:
        first = post(client, edit("Anna"))
        answer = client.post("/edits", json={"edits": [edit("Bert")]})
        require_problem(answer, 429, "queue-full")
        assert int(answer.headers["Retry-After"]) > 0
        client.delete(f"/batches/{first['id']}")
        post(client, edit("Bert"))


def test_a_fault_inside_is_a_500_problem_that_names_the_request(api: ApiProcess, client: httpx.Client) -> None:
    accepted = post(client, edit("Anna"))
    edit_id = accepted["edits"][0]["id"]
    api.queue.redis.hset(api.ledger.keys.at(Key.EDITS), edit_id, "not JSON")
    answer = client.get(f"/edits/{edit_id}", headers={"X-Request-Id": "trace-7"})
    assert require_problem(answer, 500, "internal-error")["request_id"] == "trace-7"
    assert answer.headers["X-Request-Id"] == "trace-7"
    assert client.get("/healthz").status_code == 200


def test_a_batch_knows_the_request_that_brought_it(api: ApiProcess, client: httpx.Client) -> None:
    answer = client.post("/edits", json={"edits": [edit("Anna")]}, headers={"X-Request-Id": "trace-9"})
    assert api.ledger.batches.get(answer.json()["id"]).spec.request == "trace-9"


def test_every_answer_has_a_request_id_of_its_own(client: httpx.Client) -> None:
    unusable = {"X-Request-Id": "two words"}
    ids = [client.get(path, headers=unusable).headers["X-Request-Id"] for path in ("/healthz", "/nothing", "/edits")]
    assert len(set(ids)) == 3
    assert "two words" not in ids
