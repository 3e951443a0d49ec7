"""Published second moments: what text gives comes back through their files, and a wrong file is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from editing_core.covariance.artefacts import ModelArtefacts
from editing_core.covariance.prepare import PrepareOptions, artefact_key, prepare
from editing_core.covariance.text_files import TextFiles, open_text_files
from editing_core.errors import InvalidSettings
from tests.support.small_datasets import boats
from tests.support.tiny_loaded import tiny_loaded
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily

LAYERS = (0, 2)
WIDTH = 128
MODULES = {
    "gptj": "transformer.h.{}.mlp.fc_out",
    "gpt_neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "llama": "model.layers.{}.mlp.down_proj",
}
Members = dict[str, object]


@pytest.fixture
def corpus(tmp_path: Path) -> TextFiles:
    file = tmp_path / "corpus.txt"
    file.write_text("".join(text.replace("\n", " ") + "\n" for text in boats(1_200)))
    return open_text_files([file])


def _file(folder: Path, layer: int, family: TinyFamily = "gptj") -> Path:
    return folder / f"{MODULES[family].format(layer)}_float32_mom2_100000.npz"


def _members(mean_MM: torch.Tensor, num_tokens: int, dtype: str = "float32") -> Members:
    """As ``save_cached_state`` of the public code writes them."""
    return {
        "mom2.constructor": "util.runningstats.SecondMoment()",
        "mom2.count": num_tokens,
        "mom2.mom2": (mean_MM.double() * num_tokens).numpy().astype(dtype),
        "sample_size": 100_000,
    }


def _publish(folder: Path, made: ModelArtefacts, family: TinyFamily = "gptj", dtype: str = "float32") -> Path:
    folder.mkdir()
    for layer, mean_MM in made.covariances.items():
        np.savez(_file(folder, layer, family), **_members(mean_MM, made.num_tokens, dtype))  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_what_text_gave_comes_back_through_published_files(
    family: TinyFamily, dtype: str, corpus: TextFiles, tmp_path: Path
) -> None:
    loaded = tiny_loaded(family)
    made = prepare(loaded, corpus, PrepareOptions(layers=LAYERS, num_tokens=3_000), root=tmp_path / "made")
    folder = _publish(tmp_path / "published", made, family, dtype)
    reported: list[tuple[str, int, int]] = []
    options = PrepareOptions(layers=LAYERS, statistics=folder)
    root = tmp_path / "imported"
    got = prepare(loaded, corpus, options, root=root, on_progress=lambda *progress: reported.append(progress))

    for layer in LAYERS:  # two roundings to float32: of the sum, and of the quotient
        assert torch.allclose(got.covariances[layer], made.covariances[layer], rtol=2.5e-7, atol=0)
    assert got.num_tokens == made.num_tokens
    assert got.change_since_half is None
    assert (got.contexts, got.heldout_ids) == (made.contexts, made.heldout_ids)
    assert got.heldout_perplexity == made.heldout_perplexity
    assert torch.equal(got.probes.log_probs, made.probes.log_probs)
    assert reported[:2] == [("statistics", 1, 2), ("statistics", 2, 2)]


def test_half_precision_files_are_read(corpus: TextFiles, tmp_path: Path) -> None:
    loaded, mean = tiny_loaded("gptj"), torch.eye(WIDTH)
    (folder := tmp_path / "half").mkdir()
    np.savez(_file(folder, 0), **_members(mean, 256, "float16"))  # type: ignore[arg-type]
    got = prepare(loaded, corpus, PrepareOptions(layers=(0,), statistics=folder), root=tmp_path / "a")
    assert torch.equal(got.covariances[0], mean)


def test_artefacts_from_text_and_from_different_files_are_kept_apart(corpus: TextFiles, tmp_path: Path) -> None:
    loaded = tiny_loaded("gptj")
    folders = []
    for name, scale in (("one", 1.0), ("two", 2.0)):
        (folder := tmp_path / name).mkdir()
        np.savez(_file(folder, 0), **_members(torch.eye(WIDTH) * scale, 256))  # type: ignore[arg-type]
        folders.append(folder)
    options = [
        PrepareOptions(layers=(0,)),
        *(PrepareOptions(layers=(0,), statistics=folder) for folder in folders),
        PrepareOptions(layers=(0,), statistics=folders[0], num_tokens=5_000),
    ]
    text, one, two, again = (artefact_key(loaded, corpus, each).folder_name() for each in options)
    assert len({text, one, two}) == 3
    assert again == one


def _asymmetric() -> torch.Tensor:
    mean = torch.eye(WIDTH)
    mean[3, 4] = 0.01
    return mean


def _not_finite() -> torch.Tensor:
    mean = torch.eye(WIDTH)
    mean[5, 5] = torch.nan
    return mean


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (lambda: _members(torch.eye(64), 256), r"mom2\.mom2 is \[64, 64\]; this model's keys need \[128, 128\]"),
        (lambda: _members(torch.eye(WIDTH), 127), r"mom2\.count is 127; this model needs at least 128 tokens"),
        (lambda: _members(_asymmetric(), 256), "is not symmetric"),
        (lambda: _members(_not_finite(), 256), "not finite"),
        (lambda: _members(torch.eye(WIDTH), 256) | {"mom2.count": 256.5}, r"mom2\.count one whole number"),
        (lambda: {"mom2.mom2": np.eye(WIDTH)}, r"has no member mom2\.count, but mom2\.mom2"),
        (lambda: {"mean.mean": np.ones(WIDTH), "mean.count": 256}, r"has no member mom2\.mom2, but mean\.mean"),
        (
            lambda: _members(torch.eye(WIDTH), 256) | {"mom2.mom2": np.array([{"a": 1}], dtype=object)},
            "cannot be read as statistics: Object arrays cannot be loaded",
        ),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_by_name(
    members: Callable[[], Members], complaint: str, corpus: TextFiles, tmp_path: Path
) -> None:
    np.savez(_file(tmp_path, 0), **members())  # type: ignore[arg-type]
    with pytest.raises(InvalidSettings, match=rf"transformer\.h\.0\.mlp\.fc_out_float32_mom2_100000\.npz.*{complaint}"):
        prepare(tiny_loaded("gptj"), corpus, PrepareOptions(layers=(0,), statistics=tmp_path), root=tmp_path / "a")


@pytest.mark.parametrize("damage", ["cut short", "empty", "no archive", "an array"])
def test_a_file_that_is_no_archive_is_refused_by_name(damage: str, corpus: TextFiles, tmp_path: Path) -> None:
    file = _file(tmp_path, 0)
    np.savez(file, **_members(torch.eye(WIDTH), 256))  # type: ignore[arg-type]
    match damage:
        case "cut short":
            file.write_bytes(file.read_bytes()[:-2_000])
        case "empty":
            file.write_bytes(b"")
        case "no archive":
            file.write_bytes(b"\x80\x04K\x01.")
        case _:
            with file.open("wb") as stream:
                np.save(stream, np.eye(WIDTH))
    with pytest.raises(InvalidSettings, match=r"fc_out_float32_mom2_100000\.npz (cannot be read|is not an \.npz)"):
        prepare(tiny_loaded("gptj"), corpus, PrepareOptions(layers=(0,), statistics=tmp_path), root=tmp_path / "a")


def test_layers_without_a_file_or_with_several_are_refused_by_name(corpus: TextFiles, tmp_path: Path) -> None:
    loaded = tiny_loaded("gptj")
    np.savez(_file(tmp_path, 1), **_members(torch.eye(WIDTH), 256))  # type: ignore[arg-type]
    np.savez(_file(tmp_path, 11), **_members(torch.eye(WIDTH), 256))  # type: ignore[arg-type]
    with pytest.raises(InvalidSettings, match=r"no file of layer 2: one called transformer\.h\.2\.mlp\.fc_out_\*\.npz"):
        artefact_key(loaded, corpus, PrepareOptions(layers=(1, 2), statistics=tmp_path))
    _file(tmp_path, 1).with_name("transformer.h.1.mlp.fc_out_float64_mom2.npz").write_bytes(b"")
    with pytest.raises(InvalidSettings, match=r"several files of layer 1: .*float32.*float64"):
        artefact_key(loaded, corpus, PrepareOptions(layers=(1,), statistics=tmp_path))
    with pytest.raises(InvalidSettings, match="nowhere: there is no such folder"):
        artefact_key(loaded, corpus, PrepareOptions(layers=(1,), statistics=tmp_path / "nowhere"))
