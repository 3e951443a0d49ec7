"""Creates the folder of an export, which appears complete and synced or not at all. Torch-free.

The export is written in the same parent folder, under a name that no loader reads, and renamed at the end. It is locked
while its writer runs. The next writer of the same folder removes the remains of a writer that died.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from editing_core.durable import locked, remove_abandoned, sync
from editing_core.errors import ExportRefused

GIGA = 1e9
SLACK_BYTES = 16 * 1024 * 1024
"""Disk space for the card, the tokenizer's files and other small files."""


def require_free(target: Path) -> None:
    """Raise ExportRefused unless the folder is empty or does not exist."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportRefused(f"{target} is there already and is no folder: choose another place")
    if target.is_dir() and any(target.iterdir()):
        raise ExportRefused(f"the folder {target} is not empty: choose another place, or remove what is in it")


def require_space(place: Path, needed_bytes: int) -> None:
    """Raise ExportRefused if the disk of ``place`` has too little space. ``place`` does not have to exist."""
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes + SLACK_BYTES:
        raise ExportRefused(
            f"the export needs {needed_bytes / GIGA:.2f} GB, and {place} has {free / GIGA:.2f} GB free: make room, "
            "choose another place, or export in half precision"
        )


@contextmanager
def fresh_folder(target: Path, *, before_rename: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Yield a folder to fill. It becomes ``target`` when the block succeeds, and is removed when the block fails.

    If ``before_rename`` raises, nothing appears. Raises ExportRefused if ``target`` is not free.
    """
    require_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep_partial(target)
    partial = target.parent / f"{_partial_prefix(target)}{secrets.token_hex(4)}"
    partial.mkdir()
    try:
        with locked(partial):
            yield partial
            for path in (*partial.iterdir(), partial):
                sync(path)
            before_rename()
            require_free(target)
            partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(target.parent)


def sweep_partial(target: Path) -> list[str]:
    """Remove the remains of writers of this target that died. Returns the names of the removed folders."""
    return remove_abandoned(sorted(target.parent.glob(f"{_partial_prefix(target)}*")))


def size_bytes(folder: Path) -> int:
    """Return the size of all files in the folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _partial_prefix(target: Path) -> str:
    return f".{target.name}.partial-"
