"""z files: the first one counts, a damaged one counts as never made, and looking at them changes none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from editing_core.errors import StoreDamaged
from editing_core.memit.search.pool import Target
from editing_core.versions.target_files import TargetFiles

KEY = "ab" + "0" * 62


def target(value: float = 1.0) -> Target:
    return Target(targets_EH=torch.full((2, 4), value), delta_H=torch.arange(4.0), loss=0.25, nll=0.125, num_losses=7)


@pytest.fixture
def files(tmp_path: Path) -> TargetFiles:
    made = TargetFiles(tmp_path / "targets")
    made.write(KEY, target())
    return made


def _path(files: TargetFiles) -> Path:
    (path,) = files.root.glob("*/*.safetensors")
    return path


def test_what_was_written_is_read_and_a_second_result_changes_nothing(files: TargetFiles) -> None:
    files.write(KEY, target(2.0))
    read = files.read(KEY)
    assert torch.equal(read.targets_EH, target().targets_EH)
    assert (read.loss, read.nll, read.num_losses) == (0.25, 0.125, 7)


def test_equal_results_have_equal_files(files: TargetFiles, tmp_path: Path) -> None:
    again = TargetFiles(tmp_path / "again")
    again.write(KEY, files.read(KEY))
    assert _path(again).read_bytes() == _path(files).read_bytes()


def test_a_file_without_a_digest_of_its_numbers_is_read(files: TargetFiles) -> None:
    save_file(load_file(_path(files)), _path(files))
    assert KEY in files
    assert torch.equal(files.read(KEY).delta_H, target().delta_H)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_damage(files: TargetFiles, number: float) -> None:
    tensors = load_file(_path(files))
    tensors["delta"][1] = number
    save_file(tensors, _path(files))
    with pytest.raises(StoreDamaged, match="not finite"):
        files.read(KEY)
    assert KEY not in files


def test_every_single_flipped_bit_of_the_numbers_is_found_and_the_file_set_aside_when_it_is_needed(
    files: TargetFiles,
) -> None:
    path = _path(files)
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in range(start, len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        ((found, damage),) = files.examine()
        assert found == path
        assert damage is not None
    assert path.exists(), "looking changes nothing"
    assert KEY not in files
    assert not path.exists()
    files.write(KEY, target())
    assert list(files.examine()) == [(path, None)]
