"""Writing files so that a crash leaves the old one or the new one, never half of one; torch-free."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file aside, sync it, and rename it to ``path``."""
    fresh = _write_beside(path, write)
    try:
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_once(path: Path, content: bytes) -> bytes:
    """Put the content there unless the file exists, and return what is there: of several writers one wins, for good."""
    if path.exists():
        return path.read_bytes()
    fresh = _write_beside(path, lambda file: file.write_bytes(content))
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
    sync(path.parent)
    return path.read_bytes()


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a file or folder while the block runs; it goes with the process, however that ends.

    ``shared``: others may hold it so too; a version's folder that is held so is not removed meanwhile.
    Yields whether the lock was got (always, if ``wait``). Raises FileNotFoundError.
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
    """Remove those of the folders whose writer died, which are the unlocked ones; return their names."""
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


def _write_beside(path: Path, write: Callable[[Path], object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        write(fresh)
        sync(fresh)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return fresh
