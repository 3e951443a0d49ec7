"""The files of a base model, and the file and stored name of each tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from editing_core.errors import InvalidSettings, StoreMismatch
from editing_core.models.load import family_at

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCheckpoint:
    """A checkpoint on disk. Tensors are read on request only."""

    path: Path
    files: dict[str, str]
    """File name by the tensor's stored name."""
    base: str
    """Prefix of parameter names in a model with a head, which some checkpoints omit."""
    is_sharded: bool

    @classmethod
    def open(cls, path: Path) -> BaseCheckpoint:
        """Read the names of the tensors. Raises InvalidSettings if the folder has no checkpoint or misses a file."""
        base = family_at(path).base
        if (path / WEIGHTS).is_file():
            with opened(path / WEIGHTS) as file:
                return cls(path=path, files=dict.fromkeys(file.keys(), WEIGHTS), base=base, is_sharded=False)
        if not (path / INDEX).is_file():
            raise InvalidSettings(
                f"{path} has neither {WEIGHTS} nor {INDEX}: it is not a checkpoint that can be loaded"
            )
        files = json.loads((path / INDEX).read_text())["weight_map"]
        if missing := sorted({name for name in files.values() if not (path / name).is_file()}):
            raise InvalidSettings(f"{path / INDEX} names {missing[0]}, which is missing: download the model again")
        return cls(path=path, files=files, base=base, is_sharded=True)

    @property
    def shards(self) -> tuple[str, ...]:
        """The names of the checkpoint's files, sorted."""
        return tuple(sorted(set(self.files.values())))

    def names_in(self, shard: str) -> list[str]:
        """Return the names of the tensors in one file."""
        return [name for name, file in self.files.items() if file == shard]

    def stored_name(self, parameter: str) -> str:
        """Return a parameter's name in the files, with or without the prefix. Raises StoreMismatch if it is missing."""
        for name in (parameter, parameter.removeprefix(f"{self.base}.")):
            if name in self.files:
                return name
        raise StoreMismatch(f"{self.path} has no tensor {parameter!r}: the version belongs to another model")

    def tensor(self, parameter: str) -> Tensor:
        """Read one tensor by its parameter's name, in its stored dtype, into main memory."""
        return self.stored_tensor(self.stored_name(parameter))

    def stored_tensor(self, name: str) -> Tensor:
        """Read one tensor by its name in the files."""
        with opened(self.path / self.files[name]) as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file and map it into memory."""
    with safe_open(path, framework="pt", device="cpu") as file:
        yield file
