"""Writes files durably: a crash leaves the old file or the new file, never a partial one. Torch-free."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file, sync it, and rename it to ``path``."""
    fresh = _write_temporary(path, write)
    try:
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_once(path: Path, content: bytes) -> bytes:
    """Write the file unless it exists, and return its content. If several processes write, the first one wins."""
    if path.exists():
        return path.read_bytes()
    fresh = _write_temporary(path, lambda file: file.write_bytes(content))
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
    sync(path.parent)
    return path.read_bytes()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a file or folder while the block runs. The lock ends with the process.

    ``shared``: other holders may share the lock; a version's folder is not removed while it is held.
    Yields whether the lock was acquired (always, if ``wait``). Raises FileNotFoundError.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def remove_abandoned(folders: Iterable[Path]) -> list[str]:
    """Remove the unlocked folders, because their writer died. Returns their names."""
    removed = []
    for folder in folders:
        try:
            with locked(folder, wait=False) as is_abandoned:
                if is_abandoned:
                    shutil.rmtree(folder)
                    removed.append(folder.name)
        except FileNotFoundError:  # its writer has just finished
            continue
    return removed


def _write_temporary(path: Path, write: Callable[[Path], object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        write(fresh)
        sync(fresh)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return fresh
