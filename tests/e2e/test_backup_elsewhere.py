"""A backup of a running Errata, served elsewhere, answers as the first did; and an erased edit is in neither."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.cli.demo.corrections import corrections
from service.cli.demo.running import RunningErrata
from service.cli.main import run
from service.cli.output import ExitCode
from service.client.client import Client
from tests.support.errata_process import errata_up
from worker.protocol.settings import known_environment

HAMLET, NOTRE_DAME, MESSI, *_ = corrections()
NOTE = "told by Zyxwvia"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in known_environment():
        monkeypatch.delenv(name, raising=False)


def apply(client: Client, edit: dict[str, object]) -> str:
    batch = client.wait_for_batch(client.submit_edits([edit]).id)
    assert (batch.status, batch.error) == ("applied", None)
    assert batch.version is not None
    return batch.version


def reported(client: Client) -> dict[str, object]:
    """What can be asked of a service at rest, without the entries that backup and restore add themselves."""
    own = {"backup.made", "ledger.restored"}
    return {
        "versions": [row.model_dump() for row in client.versions()],
        "edits": [client.edit(row.id).model_dump() for row in client.edits()],
        "batches": [client.batch(row.id).model_dump() for row in client.batches()],
        "audit": [row.model_dump() for row in client.audit() if row.what not in own],
        "answer": client.generate(HAMLET.prompt, max_new_tokens=8).model_dump(),
    }


@contextmanager
def asking(errata: RunningErrata) -> Iterator[None]:
    """Somebody asks the model all the while."""
    stopped = threading.Event()

    def ask() -> None:
        with Client(errata.url, timeout_seconds=60.0) as client:
            while not stopped.is_set():
                client.generate(HAMLET.prompt, max_new_tokens=4)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_backup_of_a_running_service_answers_elsewhere_as_the_first_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "backups").mkdir()
    with errata_up(tmp_path) as first, Client(first.url, timeout_seconds=60.0) as client:
        apply(client, HAMLET.as_edit())
        version = apply(client, {**NOTRE_DAME.as_edit(), "note": NOTE})
        client.pin(version)
        with asking(first):
            assert run(["backup", str(tmp_path / "backups"), "--data", str(tmp_path / "data")]) == ExitCode.OK
        expected = reported(client)
    (backup,) = (tmp_path / "backups").iterdir()
    (tmp_path / "elsewhere").mkdir()
    data = tmp_path / "elsewhere" / "data"
    assert run(["restore", str(backup), "--data", str(data)]) == ExitCode.OK
    capsys.readouterr()
    with errata_up(tmp_path / "elsewhere") as second, Client(second.url, timeout_seconds=60.0) as client:
        assert reported(client) == expected
        assert run(["audit", "--verify", "--url", second.url]) == ExitCode.OK
        (edit,) = client.edits(subject=NOTRE_DAME.as_edit()["subject"])
        client.unpin(version)
        assert run(["purge", edit.id, "--take-out", "--url", second.url]) == ExitCode.OK
        assert "is erased" in capsys.readouterr().out
        assert client.generate(HAMLET.prompt, max_new_tokens=8).text.strip().startswith(HAMLET.new_object)
        assert apply(client, MESSI.as_edit())
    files = [path for path in data.rglob("*") if path.is_file()]
    assert not [path for path in files if NOTE.encode() in path.read_bytes()]
