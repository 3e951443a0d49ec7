"""``errata prepare`` as a program: text from a dataset, statistics from files, and what is told of a mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from editing_core.covariance.command import main
from editing_core.versions.layout import StoreLayout
from tests.support.small_datasets import boats, write_json_lines
from tests.support.tiny_models import save_tiny_model
from worker.protocol.settings import Settings
from worker.session import EditingSession

FIXED = ("--layers", "0,1", "--device", "cpu")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_tiny_model(tmp_path / "model", "gptj"))


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    return str(write_json_lines(tmp_path / "boats", boats(600)))


def _publish(folder: Path) -> Path:
    folder.mkdir()
    for layer in (0, 1):
        total = np.eye(128, dtype=np.float32) * (layer + 1)
        members = {"mom2.mom2": total, "mom2.count": 4_096}
        np.savez(folder / f"transformer.h.{layer}.mlp.fc_out_float32_mom2_100.npz", **members)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("published", [False, True])
def test_a_worker_with_the_same_settings_finds_the_artefacts_of_prepare(
    published: bool,
    model: str,
    dataset: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, statistics = tmp_path / "data", _publish(tmp_path / "published") if published else None
    extra = ["--statistics", str(statistics)] if statistics else ["--tokens", "5000"]
    assert main([model, "--dataset", f"{dataset}@train", *FIXED, "--data", str(data), *extra]) == 0
    reported = capsys.readouterr().err
    assert f"tokens: {4096 if published else 5120}" in reported
    assert "more: " not in reported
    (made,) = StoreLayout(data).artefacts_dir.iterdir()

    (file,) = made.glob("*.safetensors")
    written = file.stat()
    EditingSession.open(
        Settings.model_validate({
            "model": model,
            "data": data,
            "dataset": f"{dataset}@train",
            "statistics": statistics,
            "tokens": None if published else 5_000,
            "layers": "0,1",
            "device": "cpu",
        })
    )
    assert list(StoreLayout(data).artefacts_dir.iterdir()) == [made]
    now = file.stat()
    assert (now.st_ino, now.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)  # read, not made again


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--dataset", "boats", "--corpus", "a.txt"], "give one of ERRATA_CORPUS and ERRATA_DATASET"),
        (["--dataset", "./nowhere"], "there is no such folder"),
        ([], "give --corpus FILE (ERRATA_CORPUS) or --dataset NAME"),
    ],
)
def test_a_mistake_is_exit_code_2_and_one_line(
    options: list[str], complaint: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([model, *options]) == 2
    reported = " ".join(capsys.readouterr().err.split())
    assert reported.startswith("errata prepare: ")
    assert complaint in reported
