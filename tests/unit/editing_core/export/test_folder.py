"""An export is there, complete, or it is not there: whatever happens while it is written."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from editing_core.errors import ExportRefused
from editing_core.export.folder import fresh_folder, require_space, sweep_partial
from editing_core.export.request import ExportRequest
from tests.support.exported import tiny_version

DYING = """
import os, signal, sys
from pathlib import Path
from editing_core.export.request import ExportRequest
from editing_core.export.version import Exporter
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore

def die(phase, done, total):
    if phase == "writing" and done > total // 2:
        os.kill(os.getpid(), signal.SIGKILL)

folder, form = Path(sys.argv[1]), sys.argv[2]
exporter = Exporter(store=VersionStore(StoreLayout(folder / "data")), model=str(folder / "model"), served=None)
exporter.export(ExportRequest(version="v1", format=form), folder / "place" / "out", on_phase=die)
"""


def visible(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("form", ["hf", "peft"])
def test_a_kill_leaves_nothing_that_looks_like_an_export_and_the_next_one_clears_up(tmp_path: Path, form: str) -> None:
    version = tiny_version(tmp_path, "gptj")
    done = subprocess.run([sys.executable, "-c", DYING, str(tmp_path), form], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    place = tmp_path / "place"
    assert visible(place) == []
    assert len(list(place.iterdir())) == 1
    version.exporter.export(ExportRequest(version="v1", format=form), place / "out")  # type: ignore[arg-type]
    assert [path.name for path in place.iterdir()] == ["out"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def give_up() -> None:
        raise KeyError("lease")

    with pytest.raises(KeyError), fresh_folder(tmp_path / "out", before_rename=give_up) as folder:
        (folder / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_being_written_is_left_alone_by_others(tmp_path: Path) -> None:
    with fresh_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("x")
        assert sweep_partial(tmp_path / "out") == []
        with fresh_folder(tmp_path / "out2"):
            pass
    assert visible(tmp_path) == ["out", "out2"]
    assert (tmp_path / "out" / "file").read_text() == "x"


def test_what_two_write_to_one_place_is_the_firsts(tmp_path: Path) -> None:
    with ExitStack() as stack:
        late = stack.enter_context(fresh_folder(tmp_path / "out"))
        (late / "file").write_text("late")
        with fresh_folder(tmp_path / "out") as early:
            (early / "file").write_text("early")
        with pytest.raises(ExportRefused, match="is not empty"):
            stack.close()
    assert (tmp_path / "out" / "file").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_a_place_and_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with fresh_folder(tmp_path / "empty") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "empty" / "file").exists()
    (tmp_path / "taken").write_text("x")
    with pytest.raises(ExportRefused, match="is no folder"), fresh_folder(tmp_path / "taken"):
        pass


def test_a_full_disk_is_reported_beforehand(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(ExportRefused, match=r"needs 1000000000\.00 GB"):
        require_space(tmp_path / "not" / "yet", 10**18)
