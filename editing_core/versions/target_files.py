"""The z of every search made for a store, one file each. A file's name covers everything that changes its numbers.

A z file is made once: it is written to a temporary file, then linked. If two processes make the same z, both use the
first. The file holds the sha256 of its own numbers, and the content hashes of its edits, which show whether anything
still needs it. A file that is damaged, or holds numbers that are not finite, is set aside and counts as never made.
Knows no search.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from editing_core.durable import locked, write_once
from editing_core.errors import StoreDamaged
from editing_core.memit.search.pool import Target
from editing_core.versions.tensor_header import read_header

LOGGER = logging.getLogger(__name__)
_PARTS = {"targets", "delta", "search"}
ABOUT = "errata"
"""The only metadata entry, JSON. The order of several entries is not fixed, but equal z must have equal files."""
EDITS = "edits"
"""The name of the entry in ABOUT that lists the file's edits."""
_DIGEST = "sha256"
"""The entry in ABOUT with the digest of the tensors' bytes. Older files have none."""


@dataclass(frozen=True, slots=True)
class TargetFiles:
    """A folder of z files. Safe for several processes at once."""

    root: Path

    def __contains__(self, key: str) -> bool:
        """Whether the z of this key was made and can be read. Sets a damaged file aside."""
        path = self._file(key)
        if not path.is_file():
            return False
        if _damage(path) is None:
            return True
        with locked(path.parent):  # another process may have set the file aside and made it again
            damage = _damage(path)
            if damage is not None and path.exists():
                path.replace(path.with_suffix(".damaged"))
                LOGGER.warning("%s cannot be read (%s): set aside, to be computed again", path, damage)
        return damage is None

    def write(self, key: str, target: Target, *, edits: Iterable[str] = ()) -> None:
        """Store a result under its key. If another process was first, its result stays.

        ``edits``: content keys of the result's edits.
        """
        counts = torch.tensor([target.loss, target.nll, target.num_losses], dtype=torch.float64)
        tensors = {"targets": target.targets_EH.contiguous(), "delta": target.delta_H.contiguous(), "search": counts}
        _, numbers = _cut(save(tensors))
        about = {EDITS: list(edits), _DIGEST: hashlib.sha256(numbers).hexdigest()}
        write_once(self._file(key), save(tensors, metadata={ABOUT: json.dumps(about)}))

    def read(self, key: str) -> Target:
        """The z of this key. Raises StoreDamaged if its file cannot be read."""
        try:
            tensors = _load(self._file(key))
        except (SafetensorError, OSError) as error:
            raise StoreDamaged(
                f"{self._file(key)} cannot be read ({error}): remove it, and Errata computes it again"
            ) from None
        loss, nll, num_losses = tensors["search"].tolist()
        return Target(
            targets_EH=tensors["targets"],
            delta_H=tensors["delta"],
            loss=loss,
            nll=nll,
            num_losses=int(num_losses),
        )

    def examine(self) -> Iterator[tuple[Path, str | None]]:
        """Every z file with its damage (None if it is intact), by name. Changes no file. Raises OSError."""
        for path in sorted(self.root.glob("*/*.safetensors")):
            damage = _damage(path)
            if damage is None or path.exists():  # otherwise it was removed meanwhile
                yield path, damage

    def _file(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.safetensors"


def _load(path: Path) -> dict[str, torch.Tensor]:
    content = path.read_bytes()
    tensors = load(content)
    if set(tensors) != _PARTS:
        raise SafetensorError(f"it holds {sorted(tensors)}")
    header, numbers = _cut(content)
    expected, found = _about(header).get(_DIGEST), hashlib.sha256(numbers).hexdigest()
    if expected not in {None, found}:
        raise SafetensorError(f"its numbers were written with sha256 {expected} and now have {found}")
    if not all(bool(torch.isfinite(tensors[name]).all()) for name in ("targets", "delta")):
        raise SafetensorError("it holds numbers that are not finite")
    return tensors


def _cut(content: bytes) -> tuple[dict[str, dict[str, str]], bytes]:
    """The header and the numbers of a safetensors file."""
    stream = BytesIO(content)
    return read_header(stream.read, max_bytes=len(content)), stream.read()


def _about(header: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The content of ABOUT; empty if the header has no such entry or it cannot be read."""
    try:
        about = json.loads(header["__metadata__"][ABOUT])
    except (KeyError, TypeError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _damage(path: Path) -> str | None:
    """Why the file cannot be used; None if it can. Read errors that do not concern the file itself are raised."""
    try:
        _load(path)
    except FileNotFoundError as error:
        return str(error)
    except SafetensorError as error:
        return str(error)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return str(error)
    return None
