"""Exports over HTTP, written by a real worker: followed to the end, killed on the way, refused in words."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM

from editing_core.export.card import read_record
from editing_core.models.load import load_model
from editing_core.models.views import make_view
from editing_core.versions.layout import StoreLayout
from service.api.access.keys import KeyFile
from service.cli.main import run
from service.cli.output import ExitCode
from tests.support.api_process import ApiProcess, edit, post, require_problem, running_api
from tests.support.exported import logits
from tests.support.facts import fact
from tests.support.published import publish
from tests.support.waiting import until
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.entities import BatchState
from worker.protocol.export_records import ExportRecord, ExportState

HF, PEFT = {"format": "hf"}, {"format": "peft"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


@pytest.fixture(scope="module")
def written(prepared: PreparedModel, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> WorkerBench:
    """A store with one version; no worker runs on it."""
    place = prepared.bench(tmp_path_factory.mktemp("place") / "data", redis_url)
    with place.worker():
        assert place.wait(place.send(fact("Ada", "Rome"), fact("Chopin", "Oslo"))).status == BatchState.APPLIED
    return place


@pytest.fixture(scope="module")
def running(written: WorkerBench) -> Iterator[ApiProcess]:
    with running_api(written.redis_url, written.data) as api:
        yield api


@pytest.fixture
def place(written: WorkerBench, running: ApiProcess) -> WorkerBench:
    """The same store without what an earlier test has exported."""
    shutil.rmtree(StoreLayout(written.data).exports_dir, ignore_errors=True)
    redis = running.queue.redis
    for key in redis.scan_iter("*export*"):
        redis.delete(key)
    redis.delete(running.queue.rq.key)
    return written


@pytest.fixture
def client(place: WorkerBench, running: ApiProcess) -> Iterator[httpx.Client]:
    with running.client() as client:
        yield client


def ended(place: WorkerBench, export: str) -> ExportRecord:
    until(lambda: place.ledger.exports.get(export).is_final, seconds=120)
    return place.ledger.exports.get(export)


def ask(client: httpx.Client, version: str, body: dict[str, Any]) -> httpx.Response:
    return client.post(f"/versions/{version}/export", json=body)


def test_a_version_is_exported_in_both_forms_and_followed_to_its_end(place: WorkerBench, client: httpx.Client) -> None:
    answer = ask(client, "v1", HF)
    asked = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, "/exports/v1-hf-float32")
    assert (asked["status"], asked["dtype"], asked["result"]) == ("queued", "float32", None)
    assert ask(client, "v1", PEFT).json()["id"] == "v1-peft"
    with place.worker():
        assert ended(place, "v1-peft").status == ended(place, "v1-hf-float32").status == ExportState.DONE
    reported = client.get("/exports/v1-hf-float32").json()
    folder = place.data / reported["path"]
    assert reported["result"]["size_bytes"] == read_record(folder)["size_bytes"]
    assert [item["id"] for item in client.get("/exports").json()["items"]] == ["v1-peft", "v1-hf-float32"]
    base = load_model(str(place.settings["model"]), device="cpu", dtype="float32")
    view = make_view(base.model, place.store.load_tensors("v1", "cpu"))
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), logits(view))
    assert client.get("/exports/v1-peft").json()["result"]["rank"] == 2, "as many as there are edits"
    assert 'errata_stage_seconds_count{stage="exporting"} 2.0' in client.get("/metrics").text.splitlines()


def test_the_same_again_is_the_same_export_until_its_folder_is_gone(place: WorkerBench, client: httpx.Client) -> None:
    first = ask(client, "v1", PEFT)
    assert ask(client, "v1", PEFT).json() == first.json()
    with place.worker():
        ended(place, "v1-peft")
        again = ask(client, "v1", PEFT)
        assert (again.status_code, again.json()["status"]) == (200, "done")
        shutil.rmtree(place.data / again.json()["path"])
        assert ask(client, "v1", PEFT).status_code == 202
        assert ended(place, "v1-peft").status == ExportState.DONE
    assert read_record(place.data / "exports" / "v1-peft")["rank"] == 2


@pytest.mark.parametrize(
    "death", [("after", "exports.progress:writing"), pytest.param(("before", "exports.finish"), marks=pytest.mark.slow)]
)
def test_an_export_whose_worker_is_killed_is_finished_by_the_next_one(
    place: WorkerBench, client: httpx.Client, death: tuple[str, str]
) -> None:
    ask(client, "v1", HF)
    with place.worker(dying=death) as process:
        assert place.wait_for_death(process) == -signal.SIGKILL
    assert client.get("/exports/v1-hf-float32").json()["status"] == "running"
    with place.worker():
        assert ended(place, "v1-hf-float32").status == ExportState.DONE
    exports = StoreLayout(place.data).exports_dir
    assert [path.name for path in exports.iterdir()] == ["v1-hf-float32"]
    assert AutoModelForCausalLM.from_pretrained(exports / "v1-hf-float32") is not None


@pytest.mark.slow
def test_an_export_begun_too_often_is_failed_with_the_reason_and_can_be_asked_for_again(
    prepared: PreparedModel, place: WorkerBench, client: httpx.Client
) -> None:
    ask(client, "v1", HF)
    impatient = WorkerBench(data=place.data, redis_url=place.redis_url, settings=place.settings | {"max_attempts": 1})
    with impatient.worker(dying=("after", "exports.progress:writing")) as process:
        assert impatient.wait_for_death(process) == -signal.SIGKILL
    with impatient.worker():
        failed = ended(place, "v1-hf-float32")
        assert failed.status == ExportState.FAILED
        assert failed.error is not None
        assert "started 1 times" in failed.error
        assert list(StoreLayout(place.data).exports_dir.iterdir()) == []
        assert ask(client, "v1", HF).json()["status"] == "queued"
        assert ended(place, "v1-hf-float32").status == ExportState.DONE


@pytest.mark.slow
def test_a_stopped_worker_gives_the_export_back(place: WorkerBench, client: httpx.Client) -> None:
    ask(client, "v1", HF)
    with place.worker(dying=("before", "exports.begin", "stop")) as process:
        assert place.wait_for_death(process) == 0
    assert place.ledger.exports.get("v1-hf-float32").status in {ExportState.QUEUED, ExportState.RUNNING}
    with place.worker():
        assert ended(place, "v1-hf-float32").status == ExportState.DONE


@pytest.mark.slow
def test_a_damaged_version_fails_its_export_at_once_with_the_reason(place: WorkerBench, client: httpx.Client) -> None:
    tensors = StoreLayout(place.data).tensor_file("v1")
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        ask(client, "v1", HF)
        with place.worker():
            record = ended(place, "v1-hf-float32")
    finally:
        tensors.write_bytes(whole)
    assert record.status == ExportState.FAILED
    assert "version v1 is damaged" in (record.error or "")
    assert "version v1 is damaged" in client.get("/exports/v1-hf-float32").json()["error"]


def test_what_cannot_be_exported_is_refused_at_the_door(client: httpx.Client) -> None:
    require_problem(ask(client, "v7", HF), 404, "not-found")
    require_problem(ask(client, "v0", PEFT), 409, "nothing-to-export")
    for body in (
        {},
        {"format": "onnx"},
        {**HF, "max_rank": 4},
        {**PEFT, "dtype": "bfloat16"},
        {**PEFT, "max_rank": 0},
        {**PEFT, "max_rank": 10**235},
    ):
        assert require_problem(ask(client, "v1", body), 422, "invalid-input")["errors"][0]["loc"][0] == "body"
    require_problem(client.get("/exports/v1-peft"), 404, "not-found")
    require_problem(client.post("/versions/v1/export", content=b"{}"), 415, "wrong-media-type")


def test_a_version_that_is_no_longer_kept_is_not_found(redis_url: str, tmp_path: Path) -> None:
    with running_api(redis_url, tmp_path) as api, api.client() as client:
        old, _ = (publish(api.ledger, post(client, edit(name))["id"]) for name in ("Anna", "Bert"))
        api.ledger.publication.mark_removed([old])
        assert "no longer kept" in require_problem(ask(client, old, HF), 404, "not-found")["detail"]


def test_only_the_scope_admin_may_export_and_every_reader_may_look(redis_url: str, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {KeyFile(StoreLayout(tmp_path).api_keys).add('ed', ['edit'])}"}
    with running_api(redis_url, tmp_path) as api, api.client() as client:
        require_problem(client.post("/versions/v1/export", json=HF, headers=headers), 403, "scope-missing")
        assert client.get("/exports", headers=headers).status_code == 200
        require_problem(client.post("/versions/v1/export", json=HF), 401, "key-required")


def test_the_command_waits_for_the_service_and_prints_the_folder(
    place: WorkerBench, running: ApiProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ["--url", running.url]
    with place.worker():
        assert run(["export", "v1", "--format", "peft", "--max-rank", "1", *url]) == ExitCode.OK
    reported = capsys.readouterr()
    assert reported.out == "exports/v1-peft-r1\n"
    assert "export v1-peft-r1: done" in reported.err
    record = read_record(place.data / "exports" / "v1-peft-r1")
    assert (record["rank"], record["is_exact"], record["recheck"]["total"]) == (1, False, 2)
    assert run(["exports", *url]) == ExitCode.OK
    assert "exports/v1-peft-r1" in capsys.readouterr().out
    assert run(["export", "v0", "--format", "peft", *url]) == ExitCode.REFUSED
