"""``errata recover`` on a real embedded Redis: it sees when files and Redis disagree, and goes on from the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from service.cli.main import run
from service.cli.output import ExitCode
from service.cli.up import hold_data
from tests.support.redis_server import running_redis
from worker.protocol.connections import connect
from worker.protocol.entities import Pointer
from worker.protocol.keys import Key, Keys
from worker.protocol.ledger.ledger import Ledger


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A store whose Redis knows promotion 3."""
    identity = open_identity(tmp_path)
    with running_redis(tmp_path) as redis, connect(redis.url) as client:
        ledger = Ledger(client, Keys(identity.id))
        ledger.restoring.restore(Pointer(revision=3, version="v0"), versions=[], batches=[], parents={}, expected=None)
    return tmp_path


def _set_head(data: Path, revision: int) -> None:
    StoreLayout(data).head.write_text(json.dumps({"revision": revision, "version": "v0"}))


def _advice(data: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert run(["recover", "--data", str(data), *options]) == ExitCode.OK
    return capsys.readouterr().out


def test_equal_pointers_need_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _set_head(data, 3)
    assert "Both agree" in _advice(data, capsys)


def test_files_a_step_behind_are_mended_by_the_worker(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _set_head(data, 2)
    assert "the worker mends that by itself" in _advice(data, capsys)


def test_files_ahead_are_reported_and_recovered_on_request(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _set_head(data, 7)
    reported = _advice(data, capsys)
    assert "in Redis: promotion 3" in reported
    assert "errata recover --from-files" in reported
    assert "in Redis: promotion 3" in _advice(data, capsys), "looking changes nothing"
    assert "in Redis: promotion 7" in _advice(data, capsys, "--from-files")


def test_files_behind_redis_are_not_made_the_truth(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _set_head(data, 2)
    assert run(["recover", "--data", str(data), "--from-files"]) == ExitCode.USAGE
    assert "Redis knows more than the files" in capsys.readouterr().err
    assert "in Redis: promotion 3" in _advice(data, capsys)


def test_a_running_errata_is_not_recovered_from_files(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _set_head(data, 7)
    with hold_data(data):
        assert run(["recover", "--data", str(data), "--from-files"]) == ExitCode.USAGE
    assert "in use by another `errata up`" in capsys.readouterr().err
    assert "in Redis: promotion 3" in _advice(data, capsys)


def test_a_live_version_whose_files_are_gone_is_reported(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    StoreLayout(data).head.write_text(json.dumps({"revision": 7, "version": "v4"}))
    with running_redis(data) as redis, connect(redis.url) as client:
        client.hset(Keys(open_identity(data).id).at(Key.POINTER), mapping={"revision": 7, "version": "v4"})
    assert "live version v4 cannot be read" in _advice(data, capsys)


def test_a_redis_that_does_not_answer_is_exit_code_3(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    redis = f"unix://{data}/nobody.sock"
    assert run(["recover", "--data", str(data), "--redis", redis]) == ExitCode.UNREACHABLE
    assert capsys.readouterr().err.count("\n") == 1
