"""Each process works with its own Redis user, and that user can do nothing that the process does not need."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from service.cli.embedded_redis import find_redis_server, server_command
from service.cli.main import run
from service.cli.output import ExitCode
from service.cli.redis_users import RULES, USERS_FILE, write_users
from tests.support.api_process import edit, post, running_api
from tests.support.free_port import free_port
from tests.support.replicas import running_replicas
from tests.support.tiny_models import TINY_FAMILIES
from tests.support.waiting import until
from tests.support.worker_process import QUICK, WorkerBench, prepare_model
from worker.protocol.entities import BatchState
from worker.protocol.redis_address import redis_address
from worker.protocol.settings import Settings

WATCHER = "user watcher on >watching ~* &* +@all"
"""Reads the log of refused commands."""


@dataclass(frozen=True, slots=True)
class GuardedRedis:
    """A Redis that knows the generated users and a watcher."""

    port: int
    files: dict[str, Path]

    def url(self, user: str) -> str:
        return f"redis://{user}@127.0.0.1:{self.port}/0"

    def address(self, user: str) -> str:
        return redis_address(Settings(redis_url=self.url(user), redis_password_file=self.files[user]))

    def refused(self) -> list[tuple[str, str]]:
        """User and command of every refusal, except of the version that the client library reports unasked."""
        with Redis.from_url(f"redis://watcher:watching@127.0.0.1:{self.port}/0", decode_responses=True) as watcher:
            found: Any = watcher.acl_log()
        return [(line["username"], line["object"]) for line in found if line["object"] != "client"]


@contextmanager
def guarded_redis(folder: Path) -> Iterator[GuardedRedis]:
    files = write_users(folder / "users")
    users = folder / "users" / USERS_FILE
    users.write_text(f"{users.read_text()}{WATCHER}\n")
    (folder / "redis").mkdir()
    port = free_port()
    command = server_command(find_redis_server(), folder / "redis", folder / "redis.sock")
    command[command.index("--port") + 1] = str(port)
    process = subprocess.Popen([*command, "--aclfile", users, "--bind", "127.0.0.1"])
    try:
        redis = GuardedRedis(port, files)
        with Redis.from_url(f"redis://watcher:watching@127.0.0.1:{port}/0") as watcher:
            until(lambda: _answers(watcher))
        yield redis
    finally:
        process.terminate()
        process.wait()


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisConnectionError:
        return False


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    with guarded_redis(tmp_path_factory.mktemp("guarded")) as made:
        yield made


@pytest.fixture
def place(redis: GuardedRedis, tmp_path: Path) -> WorkerBench:
    (tmp_path / "model").mkdir()
    prepared = prepare_model(tmp_path / "model", TINY_FAMILIES[0])
    return prepared.bench(tmp_path / "data", redis.address("worker"))


@pytest.mark.slow
def test_every_process_does_its_work_and_redis_refuses_none_of_its_commands(
    redis: GuardedRedis, place: WorkerBench
) -> None:
    settings = QUICK | place.settings | {"redis_password_file": redis.files["generation"]}
    with (
        running_api(redis.address("api"), place.data) as api,
        api.client() as client,
        place.worker(),
        running_replicas(1, redis.url("generation"), place.data, **settings) as replicas,
    ):
        accepted = post(client, edit("Anna"))
        assert place.wait(accepted["id"]).status is BatchState.APPLIED
        edit_id = accepted["edits"][0]["id"]
        for path in ("/edits", "/batches", "/versions", "/audit", "/readyz", "/metrics", "/audit/verification"):
            assert client.get(path).status_code == 200, path
        assert client.post("/versions/v0/promote").status_code == 200
        assert client.post(f"/edits/{edit_id}/purge").status_code == 202
        until(lambda: client.post(f"/edits/{edit_id}/purge").json()["state"] == "done")
        until(lambda: replicas[0].generation()["version"] == "v0")
        assert replicas[0].client.get("/generate", params={"prompt": "Anna", "max_new_tokens": 2}).status_code == 200
        assert replicas[0].client.get("/metrics").status_code == 200
        backup = ["backup", str(place.data.parent / "store.tar"), "--data", str(place.data)]
        assert run([*backup, "--redis", redis.address("worker")]) == ExitCode.OK
        manifests = [*place.data.glob("versions/*/manifest.json"), *place.data.glob("targets/**/*.safetensors")]
        assert {path.stat().st_mode & 0o077 for path in manifests if path.is_file()} <= {0}
    assert redis.refused() == []


FORBIDDEN = {
    "api": (
        ("CONFIG", "SET", "appendonly", "no"),
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("EVAL", "return 1", "0"),
        ("ACL", "LIST"),
        ("BGREWRITEAOF",),
        ("GET", "other:key"),
        ("HSET", "rq:worker:x", "a", "b"),
        ("PUBLISH", "rq:pubsub:x", "stop"),
        ("SHUTDOWN",),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("SCRIPT", "FLUSH"),
        ("MODULE", "LIST"),
    ),
    "generation": (
        ("SET", "errata:x:pointer", "v9"),
        ("HSET", "errata:x:pointer", "version", "v9"),
        ("DEL", "errata:x:pointer"),
        ("RPUSH", "rq:queue:errata-x", "job"),
        ("HGETALL", "rq:job:x"),
        ("EVALSHA", "0" * 40, "0"),
        ("SCRIPT", "LOAD", "return 1"),
        ("PUBLISH", "errata:x:pointer", "v9"),
        ("CONFIG", "SET", "appendonly", "no"),
    ),
    "worker": (
        ("CONFIG", "SET", "dir", "/"),
        ("FLUSHALL",),
        ("EVAL", "return 1", "0"),
        ("ACL", "SETUSER", "x"),
        ("DEBUG", "SLEEP", "0"),
        ("GET", "other:key"),
        ("MIGRATE", "127.0.0.1", "1", "errata:x", "0", "1"),
        ("PUBLISH", "other", "x"),
        ("SHUTDOWN",),
    ),
}


@pytest.mark.parametrize(
    ("user", "command"), [(user, command) for user, commands in FORBIDDEN.items() for command in commands]
)
def test_command_that_a_process_does_not_need_is_refused(
    redis: GuardedRedis, user: str, command: tuple[str, ...]
) -> None:
    with Redis.from_url(redis.address(user)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)
    _forget_refusals(redis)


def test_script_of_a_user_reaches_only_the_keys_of_that_user(redis: GuardedRedis) -> None:
    with Redis.from_url(redis.address("api")) as client:
        read = client.register_script("return redis.call('GET', ARGV[1])")
        assert read(args=["errata:none"]) is None
        with pytest.raises(ResponseError, match="can't access"):
            read(args=["other:key"])
    _forget_refusals(redis)


def test_client_without_a_password_gets_no_answer_and_the_probe_only_a_pong(redis: GuardedRedis) -> None:
    with Redis(port=redis.port) as client, pytest.raises(AuthenticationError):
        client.ping()
    with Redis.from_url(f"redis://probe:any@127.0.0.1:{redis.port}/0") as probe:
        assert probe.ping()
        with pytest.raises(NoPermissionError):
            probe.get("errata:x")
    _forget_refusals(redis)


def test_passwords_are_random_private_and_kept(tmp_path: Path) -> None:
    files = write_users(tmp_path / "a")
    passwords = {user: file.read_text() for user, file in files.items()}
    assert passwords.keys() == RULES.keys()
    assert len({*passwords.values(), *(file.read_text() for file in write_users(tmp_path / "b").values())}) == 6
    users = (tmp_path / "a" / USERS_FILE).read_text()
    assert not any(password in users for password in passwords.values())
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files.values())
    assert {user: file.read_text() for user, file in write_users(tmp_path / "a").items()} == passwords
    assert (tmp_path / "a" / USERS_FILE).read_text() == users


def _forget_refusals(redis: GuardedRedis) -> None:
    with Redis.from_url(f"redis://watcher:watching@127.0.0.1:{redis.port}/0") as watcher:
        watcher.acl_log_reset()
