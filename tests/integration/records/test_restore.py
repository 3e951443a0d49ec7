"""A restore makes the store in one step, or says why it does not; and begins anew where it was broken off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from editing_core.versions.identity import open_identity
from service.cli.backup.archive import HEADER, ArchiveWriter, unpack
from service.cli.main import run
from service.cli.output import ExitCode
from tests.support.facts import fact, take_in
from tests.support.redis_server import running_redis
from tests.support.worker_process import WorkerBench
from worker.protocol.connections import connect
from worker.protocol.errors import BackupRefused
from worker.protocol.keys import Key, Keys
from worker.protocol.ledger.ledger import Ledger
from worker.recovery import reconcile_pointer


@pytest.fixture
def place(tmp_path: Path) -> Iterator[WorkerBench]:
    """A store without a model, with its Redis in the data folder."""
    with running_redis(tmp_path / "data") as redis:
        yield WorkerBench(data=tmp_path / "data", redis_url=redis.url, settings={})


def small_backup(place: WorkerBench, tmp_path: Path) -> Path:
    ledger = place.ledger
    reconcile_pointer(ledger, place.store)
    take_in(ledger, *(fact(f"Person {i}", "Rome") for i in range(1_500)), shard_size=5_000)
    target = tmp_path / "store.tar"
    assert run(["backup", str(target), "--data", str(place.data), "--redis", place.redis_url]) == ExitCode.OK
    return target


def test_restore_into_a_store_that_is_not_empty_is_refused_with_the_reason(
    place: WorkerBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = small_backup(place, tmp_path)
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine")
    capsys.readouterr()
    assert run(["restore", str(target), "--data", str(used)]) == ExitCode.USAGE
    assert "is not empty (it holds notes.txt)" in capsys.readouterr().err
    assert run(["restore", str(target), "--data", str(tmp_path / "new"), "--redis", place.redis_url]) == ExitCode.USAGE
    assert "already exists there" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "store.tar", "used"]
    assert place.ledger.batches.count_open() == 1


def test_damaged_backup_is_refused_and_nothing_is_made(
    place: WorkerBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = small_backup(place, tmp_path)
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    assert run(["restore", str(target), "--data", str(tmp_path / "new")]) == ExitCode.USAGE
    assert "use another backup" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_backup_whose_header_names_another_store_is_refused(
    place: WorkerBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crafted = tmp_path / "crafted.tar"
    writer = ArchiveWriter(crafted, on_bytes=lambda _: None)
    writer.add_bytes(HEADER, b'{"format": 1, "store": "0123456789ab", "made": "now", "version": "v0"}')
    writer.add_bytes("ledger.jsonl", b"")
    open_identity(place.data)
    writer.add_file("store/store.json", place.data / "store.json")
    writer.close()
    assert run(["restore", str(crafted), "--data", str(tmp_path / "new")]) == ExitCode.USAGE
    assert "names the store '0123456789ab'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_interrupted_restore_into_redis_is_repeated_by_the_same_backup_only(
    place: WorkerBench, tmp_path: Path
) -> None:
    target = small_backup(place, tmp_path)
    with running_redis(tmp_path / "other") as redis, connect(redis.url) as client:
        _, digest = unpack(target, tmp_path / "out", on_bytes=lambda _: None)
        ledger = Ledger(client, Keys(open_identity(place.data).id))
        ledger.backup.load([], backup=digest)
        client.sadd(ledger.keys.at(Key.OPEN), "b-half")
        with pytest.raises(BackupRefused, match="from another backup"):
            ledger.backup.require_empty(backup="0" * 64)
        assert run(["restore", str(target), "--data", str(tmp_path / "new"), "--redis", redis.url]) == ExitCode.OK
        assert ledger.batches.count_open() == 1
        assert len(ledger.edits.find(limit=500).items) == 500
        assert client.get(ledger.keys.at(Key.RESTORING)) is None
        assert ledger.versions.known_pointer() == place.ledger.versions.known_pointer()


def test_backup_into_a_folder_gets_a_name_and_one_that_is_there_is_refused(
    place: WorkerBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = small_backup(place, tmp_path)
    capsys.readouterr()
    place_options = ["--data", str(place.data), "--redis", place.redis_url]
    assert run(["backup", str(target), *place_options]) == ExitCode.USAGE
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "backups").mkdir()
    assert run(["backup", str(tmp_path / "backups"), *place_options]) == ExitCode.OK
    (made,) = (tmp_path / "backups").iterdir()
    assert made.name.startswith(f"errata-{open_identity(place.data).id}-")
    assert [entry.what for entry in place.ledger.audit.page().items][:2] == ["backup.made"] * 2


def test_a_backup_that_cannot_be_written_is_reported_in_one_line(
    place: WorkerBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_backup(place, tmp_path)
    (tmp_path / "file").write_text("")
    capsys.readouterr()
    target = tmp_path / "file" / "b.tar"
    assert run(["backup", str(target), "--data", str(place.data), "--redis", place.redis_url]) == ExitCode.FAILED
    assert capsys.readouterr().err.count("\n") == 1


def test_with_a_signing_key_only_its_own_backups_are_restored(
    place: WorkerBench, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unsigned = small_backup(place, tmp_path)
    assert unsigned.stat().st_mode & 0o777 == 0o600
    for name in ("key", "other-key"):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(name.encode().ljust(32, b"."))
    monkeypatch.setenv("ERRATA_SIGNING_KEY_FILE", str(tmp_path / "key"))
    signed = tmp_path / "signed.tar"
    assert run(["backup", str(signed), "--data", str(place.data), "--redis", place.redis_url]) == ExitCode.OK
    capsys.readouterr()
    assert run(["restore", str(unsigned), "--data", str(tmp_path / "new")]) == ExitCode.USAGE
    assert "is not signed, and a signing key is set" in capsys.readouterr().err
    monkeypatch.setenv("ERRATA_SIGNING_KEY_FILE", str(tmp_path / "other-key"))
    assert run(["restore", str(signed), "--data", str(tmp_path / "new")]) == ExitCode.USAGE
    assert "is not signed by this signing key" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("ERRATA_SIGNING_KEY_FILE", str(tmp_path / "key"))
    assert run(["restore", str(signed), "--data", str(tmp_path / "new")]) == ExitCode.OK


def test_files_of_the_embedded_redis_are_private(place: WorkerBench) -> None:
    take_in(place.ledger, fact("Person", "Rome"))
    folder = place.data / "redis"
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert "appendonly.aof" in modes
    assert set(modes.values()) == {0o600}
