"""Reads published second moments in the format of ROME's and MEMIT's public code.

Each layer has one ``.npz`` file, named ``<module>_<precision>_mom2_<samples>.npz`` after the module that reads the
layer's keys, such as ``transformer.h.3.mlp.fc_out_float32_mom2_100000.npz``. The file contains ``mom2.mom2``, the sum
of k kᵀ over ``mom2.count`` tokens (kmeng01/rome, ``util/runningstats.py``). Pickled members are never read.
"""

# Dims: M width of the projection's input.

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from editing_core.covariance.statistics import Covariances, key_width
from editing_core.errors import InvalidSettings
from editing_core.models.load import LoadedModel

SUM, COUNT = "mom2.mom2", "mom2.count"
ASYMMETRY = 1e-3
"""Largest |C - Cᵀ| allowed, relative to the largest |C|; far above the error of sums in float32."""
_ROWS = 1_024
"""Rows of a matrix that are checked together."""


def find_published(folder: Path, loaded: LoadedModel, layers: Sequence[int]) -> dict[int, Path]:
    """Return the file of each layer. Raises InvalidSettings with the layers that have no file, or several."""
    if not folder.is_dir():
        raise InvalidSettings(f"statistics folder {folder}: there is no such folder")
    found: dict[int, Path] = {}
    for layer in layers:
        module = loaded.family.projection_weight_name(layer).removesuffix(".weight")
        files = sorted(file for file in folder.glob("*.npz") if file.name.startswith(f"{module}_"))
        if not files:
            raise InvalidSettings(
                f"statistics folder {folder} has no file of layer {layer}: one called {module}_*.npz was looked for, as"
                f" {module}_float32_mom2_100000.npz"
            )
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise InvalidSettings(f"statistics folder {folder} has several files of layer {layer}: {names}; leave one")
        found[layer] = files[0]
    return found


def published_digest(files: Mapping[int, Path]) -> str:
    """Return the sha256 of the layers and the content of their files."""
    digest = hashlib.sha256()
    for layer, file in sorted(files.items()):
        with file.open("rb") as stream:
            digest.update(f"{layer}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\0".encode())
    return f"sha256:{digest.hexdigest()}"


def read_published(
    files: Mapping[int, Path], loaded: LoadedModel, *, on_layer: Callable[[int], None] = lambda num_done: None
) -> Covariances:
    """Return C = sum / count of each layer [M, M], float32, read file by file. Raises InvalidSettings."""
    means: dict[int, Tensor] = {}
    counts: list[int] = []
    for layer, file in files.items():
        means[layer], count = _read(file, key_width(loaded, layer))
        counts.append(count)
        on_layer(len(counts))
    return Covariances(means=means, num_tokens=min(counts))


def _read(file: Path, width: int) -> tuple[Tensor, int]:
    total, count = _members(file)
    if total.shape != (width, width):
        raise InvalidSettings(f"{file}: {SUM} is {list(total.shape)}; this model's keys need {[width, width]}")
    if count < width:
        raise InvalidSettings(
            f"{file}: {COUNT} is {count}; this model needs at least {width} tokens (width of its MLP)"
        )
    dtype = np.float64 if total.dtype.itemsize > np.dtype(np.float32).itemsize else np.float32
    mean_MM = torch.from_numpy(np.ascontiguousarray(total, dtype=dtype)).div_(count).float()
    if not mean_MM.isfinite().all():
        raise InvalidSettings(f"{file}: {SUM} holds values that are not finite")
    asymmetry = max(
        float((rows - mean_MM[:, i * _ROWS : (i + 1) * _ROWS].T).abs().max())
        for i, rows in enumerate(mean_MM.split(_ROWS))
    )
    if asymmetry > ASYMMETRY * max(abs(float(extreme)) for extreme in mean_MM.aminmax()):
        raise InvalidSettings(f"{file}: {SUM} is not symmetric, so it is no second moment")
    return mean_MM, count


def _members(file: Path) -> tuple[np.ndarray, int]:
    """Return the sum as stored, and the count."""
    try:
        with file.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, NpzFile):
                raise InvalidSettings(f"{file} is not an .npz archive")
            missing = [name for name in (SUM, COUNT) if name not in archive]
            if missing:
                there = ", ".join(archive.files) or "nothing"
                raise InvalidSettings(f"{file} has no member {missing[0]}, but {there}")
            total, count = archive[SUM], archive[COUNT]
    except (OSError, ValueError, EOFError, RuntimeError, BadZipFile, zlib.error) as error:
        raise InvalidSettings(f"{file} cannot be read as statistics: {error}") from None
    if total.dtype.kind != "f" or count.ndim or count.dtype.kind not in "iu":
        raise InvalidSettings(f"{file}: {SUM} must hold floats and {COUNT} one whole number")
    return total, int(count)
