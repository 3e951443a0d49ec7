"""Who may do what, where the service refuses to start, and what it says while Redis is away."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from editing_core.versions.head import write_head
from editing_core.versions.layout import StoreLayout
from service.api.access.keys import KeyFile, Scope
from tests.support.api_process import ApiProcess, edit, post, require_problem, running_api, start_service
from tests.support.redis_server import running_redis
from tests.support.waiting import until
from worker.protocol.connections import connect


@pytest.fixture(scope="module")
def api(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with running_api(redis_url, tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture(scope="module")
def open_api(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """A service for which no key was ever made."""
    with running_api(redis_url, tmp_path_factory.mktemp("open")) as api:
        yield api


@pytest.fixture
def keys(api: ApiProcess) -> Iterator[KeyFile]:
    keys = KeyFile(StoreLayout(api.data).api_keys)
    yield keys
    StoreLayout(api.data).api_keys.unlink(missing_ok=True)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_keys_the_local_machine_may_do_everything(open_api: ApiProcess) -> None:
    with open_api.client() as client:
        post(client, edit("Anna"))
        assert client.post("/versions/v0/promote").status_code == 200


def test_with_keys_a_request_without_one_or_with_a_wrong_one_is_a_401(api: ApiProcess, keys: KeyFile) -> None:
    keys.add("ann", ["admin"])
    with api.client() as client:
        for headers in ({}, bearer("errata_guess"), {"Authorization": "Basic YW5uOmFubg=="}):
            answer = client.post("/edits", json={"edits": [edit("Locked out")]}, headers=headers)
            require_problem(answer, 401, "key-required")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert not api.ledger.edits.about("Locked out")


def test_a_refused_key_is_reported_before_errors_of_the_body(api: ApiProcess, keys: KeyFile) -> None:
    keys.add("ann", ["admin"])
    with api.client() as client:
        headers = {"Content-Type": "application/json"}
        require_problem(client.post("/edits", content=b"not JSON", headers=headers), 401, "key-required")


@pytest.mark.parametrize(
    ("scope", "statuses"), [("read", (200, 403, 403)), ("edit", (200, 202, 403)), ("admin", (200, 202, 200))]
)
def test_a_scope_includes_the_narrower_ones_and_no_wider_one(
    api: ApiProcess, keys: KeyFile, scope: Scope, statuses: tuple[int, ...]
) -> None:
    with api.client(headers=bearer(keys.add("ann", [scope]))) as client:
        answers = (
            client.get("/batches"),
            client.post("/edits", json={"edits": [edit("Anna")]}),
            client.post("/versions/v0/promote"),
        )
    assert tuple(answer.status_code for answer in answers) == statuses
    for refused in (answer for answer in answers if answer.status_code == 403):
        require_problem(refused, 403, "scope-missing")


def test_a_removed_key_is_refused_at_once(api: ApiProcess, keys: KeyFile) -> None:
    keys.add("ann", ["admin"])
    with api.client(headers=bearer(keys.add("bob", ["read"]))) as client:
        assert client.get("/batches").status_code == 200
        keys.remove("bob")
        require_problem(client.get("/batches"), 401, "key-required")


def test_service_stays_closed_without_its_last_key_and_without_the_file(redis_url: str, tmp_path: Path) -> None:
    with running_api(redis_url, tmp_path) as api:
        keys = KeyFile(StoreLayout(api.data).api_keys)
        keys.add("ann", ["admin"])
        keys.remove("ann")
        with api.client() as client:
            require_problem(client.get("/batches"), 401, "key-required")
            StoreLayout(api.data).api_keys.unlink()
            require_problem(client.get("/batches"), 401, "key-required")
    with running_api(redis_url, tmp_path) as restarted, restarted.client() as client:
        require_problem(client.get("/batches"), 401, "key-required")


def test_the_name_of_the_key_is_kept_with_its_edits(api: ApiProcess, keys: KeyFile) -> None:
    with api.client(headers=bearer(keys.add("ann", ["edit"]))) as client:
        accepted = post(client, edit("Anna"))
        assert client.get(f"/edits/{accepted['edits'][0]['id']}").json()["author"] == "ann"


def test_idempotency_keys_of_two_api_keys_are_two_keys(api: ApiProcess, keys: KeyFile) -> None:
    batches = set()
    for name in ("ann", "bob"):
        with api.client(headers=bearer(keys.add(name, ["edit"]))) as client:
            batches.add(post(client, edit("Anna"), **{"Idempotency-Key": "1"})["id"])
    assert len(batches) == 2


def test_health_figures_and_problems_need_no_key(api: ApiProcess, keys: KeyFile) -> None:
    keys.add("ann", ["read"])
    with api.client() as client:
        open_paths = ("/", "/healthz", "/readyz", "/metrics", "/problems", "/openapi.json", "/docs")
        assert {client.get(path).status_code for path in open_paths} == {200}


FOREIGN = (
    {"Origin": "https://evil.example"},
    {"Host": "evil.example"},
    {"Host": "["},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/edits", "/versions", "/metrics", "/readyz", "/whoami"])
def test_without_keys_a_foreign_page_reads_nothing(open_api: ApiProcess, path: str, headers: dict[str, str]) -> None:
    with open_api.client() as client:
        require_problem(client.get(path, headers=headers), 403, "foreign-origin")


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_without_keys_the_own_page_and_the_user_are_answered(open_api: ApiProcess, site: str) -> None:
    headers = {"Origin": open_api.url, "Sec-Fetch-Site": site}
    with open_api.client(headers=headers) as client:
        assert {client.get(path).status_code for path in ("/edits", "/metrics", "/readyz", "/whoami")} == {200}
        assert client.post("/edits", json={"edits": [edit("Own")]}).status_code == 202


@pytest.mark.parametrize("headers", FOREIGN)
def test_without_keys_requests_from_a_foreign_page_are_refused(open_api: ApiProcess, headers: dict[str, str]) -> None:
    with open_api.client() as client:
        answer = client.post("/edits", json={"edits": [edit("Forged")]}, headers=headers)
    require_problem(answer, 403, "foreign-origin")
    assert not open_api.ledger.edits.about("Forged")


def refusal(**settings: object) -> tuple[int, str]:
    process = start_service(**settings)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_an_open_address_without_keys_is_refused_at_start(redis_url: str, tmp_path: Path) -> None:
    code, said = refusal(redis_url=redis_url, data=tmp_path, role="api", host="0.0.0.0")  # noqa: S104
    assert code == 2
    assert "errata keys add" in said


def test_a_redis_that_may_lose_batches_is_refused_at_start_unless_that_is_accepted(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as server:
        connect(server.url).config_set("appendfsync", "everysec")
        code, said = refusal(redis_url=server.url, data=tmp_path, role="api")
        assert (code, "appendfsync" in said) == (2, True)
        with running_api(server.url, tmp_path, accept_unsafe_redis=True) as api, api.client() as client:
            readiness = client.get("/readyz").json()
    assert (readiness["ready"], readiness["degraded"]) == (True, True)
    assert "appendfsync" in readiness["parts"]["ledger"]["reason"]


def test_a_redis_older_than_the_store_is_refused_at_start(redis_url: str, tmp_path: Path) -> None:
    with running_api(redis_url, tmp_path) as api, api.client() as client:
        post(client, edit("Anna"))
        client.post("/versions/v0/promote")
        api.queue.redis.hset(api.ledger.keys.prefix + "pointer", mapping={"revision": 3, "version": "v0"})
    write_head(StoreLayout(tmp_path), 4, "v9")
    code, said = refusal(redis_url=redis_url, data=tmp_path, role="api")
    assert (code, "errata recover" in said) == (2, True)


def test_without_redis_the_service_does_not_start_and_reports_it(tmp_path: Path) -> None:
    assert refusal(data=tmp_path, role="api")[0] == 2
    code, said = refusal(redis_url="redis://127.0.0.1:1", data=tmp_path, role="api")
    assert (code, "Redis" in said) == (1, True)


def test_while_redis_is_away_everything_that_needs_it_is_a_503_and_afterwards_works_again(tmp_path: Path) -> None:
    with (
        running_redis(tmp_path / "redis") as server,
        running_api(server.url, tmp_path / "data") as api,
        api.client() as client,
    ):
        before = post(client, edit("Anna"))
        os.kill(connect(server.url).info("server")["process_id"], signal.SIGKILL)
        requests: tuple[tuple[str, str], ...] = (
            ("POST", "/edits"),
            ("GET", "/edits"),
            ("GET", f"/batches/{before['id']}"),
            ("GET", f"/batches/{before['id']}/events"),
            ("DELETE", f"/batches/{before['id']}"),
            ("GET", "/versions"),
            ("POST", "/versions/v0/promote"),
        )
        for method, path in requests:
            body = {"edits": [edit("Bert")]} if path == "/edits" and method == "POST" else None
            answer = client.request(method, path, json=body)
            require_problem(answer, 503, "ledger-down")
            assert int(answer.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 200
        assert (client.get("/readyz").status_code, client.get("/readyz").json()["ready"]) == (503, False)
        assert "errata_ledger_up 0.0" in client.get("/metrics").text
        server.stop()
        server.start()
        assert client.get(f"/batches/{before['id']}").json()["status"] == "queued"
        assert client.get("/edits", params={"subject": "Bert"}).json()["items"] == []
        post(client, edit("Bert"))


def test_a_redis_that_hangs_makes_the_service_not_ready_and_does_not_hang_its_probes(tmp_path: Path) -> None:
    with (
        running_redis(tmp_path / "redis") as server,
        running_api(server.url, tmp_path / "data") as api,
        api.client() as client,
    ):
        redis = connect(server.url).info("server")["process_id"]
        os.kill(redis, signal.SIGSTOP)
        try:
            assert client.get("/healthz").status_code == 200
            answer = client.get("/readyz")
            assert (answer.status_code, "has not answered" in answer.json()["parts"]["ledger"]["reason"]) == (503, True)
            figures = client.get("/metrics", timeout=10.0)  # what Prometheus waits by default
            assert (figures.status_code, "errata_ledger_up 0.0" in figures.text) == (200, True)
        finally:
            os.kill(redis, signal.SIGCONT)
        assert client.get("/readyz").status_code == 200
        until(lambda: "errata_ledger_up 1.0" in client.get("/metrics").text)


def test_held_connections_do_not_keep_the_service_from_stopping(redis_url: str, tmp_path: Path) -> None:
    with running_api(redis_url, tmp_path) as api, api.client() as client:
        batch = post(client, edit("Anna"))["id"]
        with client.stream("GET", f"/batches/{batch}/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            api.process.send_signal(signal.SIGTERM)
            assert any("service-stopping" in line for line in lines)
            with pytest.raises(httpx.ConnectError):
                httpx.get(api.url, trust_env=False)


def test_a_damaged_key_file_refuses_every_key(api: ApiProcess, keys: KeyFile) -> None:
    secret = keys.add("ann", ["admin"])
    StoreLayout(api.data).api_keys.write_text("{")
    with api.client(headers=bearer(secret)) as client:
        answer = client.get("/batches")
        require_problem(answer, 503, "invalid-settings")
        assert str(api.data) not in answer.text
