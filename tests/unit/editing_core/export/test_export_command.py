"""``errata export … --out``: from the store's files alone, as scripts see it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from editing_core.errors import InvalidSettings
from editing_core.export.__main__ import main
from editing_core.export.card import read_record
from editing_core.export.request import ExportRequest
from editing_core.versions.identity import bind_identity
from tests.support.exported import TinyVersion, tiny_version
from worker.protocol.settings import fresh_environment


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> TinyVersion:
    folder = tmp_path_factory.mktemp("store")
    made = tiny_version(folder, "gptj", num_edits=3)
    assert made.manifest.model_fingerprint is not None
    bind_identity(folder / "data", model=made.manifest.model_fingerprint, model_source=str(made.model))
    return made


def arguments(version: TinyVersion, out: Path, *more: str) -> list[str]:
    return ["v1", "--data", str(version.store.layout.root), "--out", str(out), "--device", "cpu", *more]


def test_the_folder_and_the_summary_are_printed(
    version: TinyVersion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(version, tmp_path / "bf16", "--format", "hf", "--dtype", "bfloat16")) == 0
    reported = capsys.readouterr()
    assert reported.out == f"{tmp_path / 'bf16'}\n"
    assert "v1 as v1-hf-bfloat16: 3 edits" in reported.err
    assert "edits that take" in reported.err
    assert main(arguments(version, tmp_path / "peft", "--format", "peft", "--max-rank", "8")) == 0
    assert "rank 3, as much as the change needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--format", "hf", "--max-rank", "2"), "a largest rank is of a peft adapter alone"),
        (("--format", "peft", "--dtype", "bfloat16"), "an adapter is always float32"),
        (("--format", "hf", "--model", "demo-gptj"), "name the model that the store belongs to"),
        (("--format", "hf", "--model", "/nowhere"), "there is no such folder"),
        (("--format", "hf", "--data", "/nowhere"), "there is no version store in /nowhere"),
    ],
)
def test_what_makes_no_sense_is_exit_code_2_and_one_line(
    version: TinyVersion, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    assert main(arguments(version, tmp_path / "out", *more)) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_command_reads_data_and_device_from_the_environment(version: TinyVersion, tmp_path: Path) -> None:
    environment = fresh_environment(data=version.store.layout.root, device="cpu") | {
        "PYTHONPATH": os.pathsep.join(sys.path)
    }
    command = [sys.executable, "-m", "service.cli.main", "export", "v1", "--format", "peft", "--out", "here"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    assert read_record(tmp_path / "here")["rank"] == 3


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (ExportRequest(version="v12", format="hf"), "v12-hf-float32"),
        (ExportRequest(version="v12", format="hf", dtype="float32"), "v12-hf-float32"),
        (ExportRequest(version="v12", format="hf", dtype="bfloat16"), "v12-hf-bfloat16"),
        (ExportRequest(version="v12", format="peft"), "v12-peft"),
        (ExportRequest(version="v12", format="peft", max_rank=8), "v12-peft-r8"),
    ],
)
def test_equal_requests_have_one_name_and_others_another(request_: ExportRequest, name: str) -> None:
    assert request_.id == name
    assert ExportRequest.from_json(request_.to_json()) == request_


@pytest.mark.parametrize("version_name", ["../v1", "v", "1", "v01", "v1/x", ""])
def test_what_is_no_version_never_becomes_a_path(version_name: str) -> None:
    with pytest.raises(InvalidSettings, match="not the name of a version"):
        ExportRequest(version=version_name, format="hf").require_sense()
