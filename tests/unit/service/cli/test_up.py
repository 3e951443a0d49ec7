"""What ``errata up`` refuses before it starts anything."""

from __future__ import annotations

import fcntl
import socket
from pathlib import Path

import pytest

from editing_core.versions.identity import bind_identity
from service.cli.main import run
from service.cli.output import ExitCode


def test_a_data_folder_in_use_is_refused_and_its_user_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        assert run(["up", "--data", str(tmp_path), "--port", "0"]) == ExitCode.USAGE
    assert "in use by another `errata up`, process 4711" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"up.lock"}


def test_a_port_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["up", "--data", str(tmp_path / "data"), "--port", str(port)]) == ExitCode.USAGE
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["up", "--data", str(tmp_path / "file" / "data"), "--port", "0"]) == ExitCode.USAGE
    assert "cannot be used: Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--layers", "2-3", "layers is [2, 3] here and [0, 1] in the store"),
        ("--layers", "foo", "layers 'foo': write 3-8"),
        ("--prior-weight", "400", "prior_weight is 400.0 here and 200.0 in the store"),
    ],
)
def test_settings_that_the_store_was_not_solved_with_are_refused_before_anything_starts(
    option: str, value: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = {"layers": [0, 1], "prior_weight": 200.0, "clamp_factor": 0.65}
    bind_identity(tmp_path, model="m", model_source="demo-gptj", settings="s", settings_values=held)
    assert run(["up", "--data", str(tmp_path), "--port", "0", option, value]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
