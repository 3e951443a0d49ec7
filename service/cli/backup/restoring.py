"""Restores a backup completely or not at all, into an empty data folder and a Redis that does not know the store.

The files are unpacked and checked in a temporary folder next to the data folder, and the ledger is written. Then one
rename turns the temporary folder into the data folder. An interrupted restore can be started again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from editing_core.durable import locked, sync
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from service.cli.backup.archive import LEDGER, STORE, Told, unpack
from service.cli.embedded_redis import plan_embedded_redis
from worker.protocol.connections import connect
from worker.protocol.errors import BackupRefused
from worker.protocol.keys import Keys
from worker.protocol.ledger.backup import Piece
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.signing import SigningKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A finished restore."""

    data: Path
    store: str
    made: str
    """Time of the backup."""
    version: str
    """Live version."""


def restore_backup(
    source: Path,
    data: Path,
    *,
    redis_url: str | None,
    on_bytes: Told,
    say: Callable[[str], None],
    key: SigningKey | None = None,
) -> Restored:
    """Create ``data`` from the backup. Without ``redis_url``, the ledger goes into the folder's embedded Redis.

    With ``key``, only backups that this key signed are accepted. Raises LedgerDown, and BackupRefused with the reason;
    after BackupRefused, nothing has changed.
    """
    require_free(data)
    fresh = data.parent / f".{data.name}.restoring"
    fresh.mkdir(parents=True, exist_ok=True)
    unpacked = partial(unpack, source, fresh, on_bytes=on_bytes, key=key)
    with locked(fresh, wait=False) as is_alone:
        if not is_alone:
            raise BackupRefused(f"another restore into {data} is running")
        try:
            return _restore(source, data, fresh, redis_url=redis_url, unpacked=unpacked, say=say)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def require_free(data: Path) -> None:
    """Raise BackupRefused unless the folder is empty or does not exist."""
    if data.exists() and not data.is_dir():
        raise BackupRefused(f"{data} is not a folder: name an empty or a new folder by --data")
    found = next(data.iterdir(), None) if data.exists() else None
    if found is not None:
        raise BackupRefused(
            f"the data folder {data} is not empty (it holds {found.name}): name another folder by --data"
        )


def _restore(
    source: Path,
    data: Path,
    fresh: Path,
    *,
    redis_url: str | None,
    unpacked: Callable[[], tuple[dict[str, Any], str]],
    say: Callable[[str], None],
) -> Restored:
    for left in fresh.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    header, digest = unpacked()
    store = fresh / STORE
    _require_own_store(header, store, source)
    say(f"{source.name} is complete; writing the ledger")
    with _reached(store, redis_url) as url, connect(url) as redis:
        ledger = Ledger(redis, Keys(header["store"]))
        ledger.backup.require_empty(backup=digest)
        ledger.backup.load(_pieces(fresh / LEDGER), backup=digest)
        if redis_url is None:
            ledger.backup.end_loading()  # the folder contains this Redis: one rename moves both
        else:
            _put_in_place(store, data)
            ledger.backup.end_loading()
    if redis_url is None:
        _put_in_place(store, data)
    return Restored(data=data, store=header["store"], made=header["made"], version=header["version"])


def _require_own_store(header: dict[str, Any], store: Path, source: Path) -> None:
    """Raise BackupRefused unless the header is complete and names the store whose files follow it."""
    wrong = [name for name in ("store", "made", "version") if not isinstance(header.get(name), str)]
    if wrong:
        raise BackupRefused(f"{source} has a header without {wrong[0]!r}: it is damaged or not a backup")
    layout = StoreLayout(store)
    if not layout.store_file.is_file():
        raise BackupRefused(f"{source} holds no {layout.store_file.name}: it is not a backup")
    found = open_identity(store).id
    if found != header["store"]:
        raise BackupRefused(f"{source} names the store {header['store']!r} and holds the files of {found!r}")


def _put_in_place(store: Path, data: Path) -> None:
    require_free(data)
    store.rename(data)
    sync(data.parent)


@contextmanager
def _reached(store: Path, redis_url: str | None) -> Iterator[str]:
    if redis_url is not None:
        yield redis_url
        return
    embedded = plan_embedded_redis(store)
    embedded.start()
    try:
        yield embedded.url
    finally:
        embedded.stop()


def _pieces(path: Path) -> Iterator[Piece]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Piece.from_line(line)
            except (ValueError, KeyError, TypeError) as error:
                raise BackupRefused(f"line {number} of the backup's ledger cannot be read: {error}") from None
