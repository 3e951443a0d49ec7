"""The folder that an export becomes: complete and synced, or not there. Torch-free.

It is filled beside its place under a name that no loader looks for, locked while its writer lives, and renamed at the
end; what a dead writer left is removed by the next one that comes to the same place.
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
"""For the card, the tokenizer's files, and what else is small."""


def require_free(target: Path) -> None:
    """Raise ExportRefused where something is already."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportRefused(f"{target} is there already and is no folder: choose another place")
    if target.is_dir() and any(target.iterdir()):
        raise ExportRefused(f"the folder {target} is not empty: choose another place, or remove what is in it")


def require_space(place: Path, needed_bytes: int) -> None:
    """Raise ExportRefused where the disk has no room for so many bytes; ``place`` need not exist yet."""
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
    """A folder to be filled, which becomes ``target`` when the block ends well and disappears when it does not.

    ``before_rename`` may raise, and nothing appears. Raises ExportRefused where something is at the place already.
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
    """Remove what dead writers of this target have left; return the folders' names."""
    return remove_abandoned(sorted(target.parent.glob(f"{_partial_prefix(target)}*")))


def size_bytes(folder: Path) -> int:
    """Bytes of all files in the folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _partial_prefix(target: Path) -> str:
    return f".{target.name}.partial-"
