"""Versions, lists and figures over HTTP; what a worker would do is done through the ledger's own moves."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from editing_core.versions.head import write_head
from editing_core.versions.layout import StoreLayout
from tests.support.api_process import ApiProcess, edit, post, running_api
from tests.support.published import publish
from worker.metrics import Metrics

COUNTED = {"applied": 2.0, "cancelled": 1.0, "failed": 0.0}


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


@pytest.mark.parametrize(("path", "expected"), [("/edits", 7), ("/batches", 4), ("/versions", 4)])
def test_pages_give_every_item_once_newest_first(
    api: ApiProcess, client: httpx.Client, path: str, expected: int
) -> None:
    for i in range(3):
        publish(api.ledger, post(client, edit(f"A{i}"), edit(f"B{i}"))["id"])
    last = post(client, edit("Z"))
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(path, params={"limit": 2, **cursor}).json()
        ids += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert len(ids) == len(set(ids)) == expected
    assert ids[0] == {"/edits": last["edits"][0]["id"], "/batches": last["id"], "/versions": "v3"}[path]


def test_what_a_ledger_that_was_forgotten_does_not_know_is_not_called_unknown(
    api: ApiProcess, client: httpx.Client
) -> None:
    batch = post(client, edit("Anna"))
    version = publish(api.ledger, batch["id"])
    layout = StoreLayout(api.data)
    write_head(layout, api.ledger.versions.pointer().revision, version)
    paths = (f"/versions/{version}", f"/batches/{batch['id']}", f"/edits/{batch['edits'][0]['id']}")
    try:
        assert {client.get(path).status_code for path in paths} == {200}
        api.queue.redis.flushall()
        for path in paths:
            answer = client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/ledger-forgotten"), path
    finally:
        layout.head.unlink()
    assert {client.get(path).status_code for path in paths} == {404}


def test_promoting_an_older_version_rolls_back_the_later_ones(api: ApiProcess, client: httpx.Client) -> None:
    old, new = post(client, edit("Anna")), post(client, edit("Anna", "Thai"), edit("Bert"))
    first, second = publish(api.ledger, old["id"]), publish(api.ledger, new["id"])
    answer = client.post(f"/versions/{first}/promote")
    promoted = answer.json()
    assert (answer.status_code, promoted["id"], promoted["status"]) == (200, first, "live")
    assert (promoted["previous"], promoted["revision"]) == (second, 3)
    assert promoted["rolled_back"] == sorted(row["id"] for row in new["edits"])
    assert promoted["restored"] == [old["edits"][0]["id"]]
    assert client.get(f"/edits/{new['edits'][1]['id']}").json()["status"] == "rolled_back"
    assert client.get(f"/versions/{second}").json()["status"] == "retired"
    reported = client.get(f"/versions/{first}").json()["promotions"]
    assert [(row["revision"], row["author"]) for row in reported] == [(1, "commit"), (3, None)]
    assert all(row["at"].endswith("Z") for row in reported)


def test_the_original_is_always_there_and_can_be_promoted(api: ApiProcess, client: httpx.Client) -> None:
    publish(api.ledger, post(client, edit("Anna"))["id"])
    assert client.post("/versions/v0/promote").json()["edits"] == 0
    assert client.get("/versions/v0").json()["status"] == "live"
    assert client.get("/edits", params={"status": "live"}).json()["items"] == []


def test_metrics_report_accepted_edits_open_batches_and_the_pointer(api: ApiProcess, client: httpx.Client) -> None:
    publish(api.ledger, post(client, edit("Anna"))["id"])
    post(client, edit("Bert"))
    lines = client.get("/metrics").text.splitlines()
    assert {"errata_open_batches 1.0", "errata_pointer_revision 1.0", "errata_ledger_up 1.0"} <= set(lines)
    assert any(line.startswith("errata_edits_accepted_total ") for line in lines)
    assert any('route="/batches/{batch}"' in line or 'route="/edits"' in line for line in lines)


def test_metrics_report_edits_by_outcome_stage_times_and_the_room_left(api: ApiProcess, client: httpx.Client) -> None:
    before = set(client.get("/metrics").text.splitlines())
    assert {f'errata_edits_total{{outcome="{name}"}} 0.0' for name in ("applied", "cancelled", "failed")} <= before
    assert {
        f'errata_stage_seconds_count{{stage="{stage}"}} 0.0'
        for stage in ("checking", "keys", "solve", "finding_culprits")
    } <= before
    assert "errata_commit_lease_age_seconds 0.0" in before
    assert {
        'errata_check_share{check="generation_success"} 1.0',
        'errata_check_share{check="generalization"} 1.0',
    } <= before
    assert 'errata_http_request_duration_seconds_count{method="GET",route="/exports"} 0.0' in before
    assert {"errata_redis_durable 1.0", "errata_store_room 1.0", "errata_audit_entries 0.0"} <= before
    publish(api.ledger, post(client, edit("Anna"), edit("Bert"))["id"])
    client.delete(f"/batches/{post(client, edit('Carl'))['id']}")
    metrics = Metrics()
    metrics.keep_in(api.ledger)
    with metrics.stage("checking"):
        pass
    after = set(client.get("/metrics").text.splitlines())
    assert {f'errata_edits_total{{outcome="{name}"}} {count}' for name, count in COUNTED.items()} <= after
    assert 'errata_stage_seconds_count{stage="checking"} 1.0' in after
