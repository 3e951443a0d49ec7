"""Makes a backup while the service runs. It blocks nothing and contains the state of one moment.

First, it reads the ledger's moment and locks the files of all its versions to keep them on disk. Then it writes the
rows of the ledger and the files. This is consistent because versions and z files never change, and all files that the
moment names were on disk before it. HEAD and the marks are written from the moment, not copied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from editing_core.clock import timestamp, utc_now
from editing_core.durable import locked, write_durably
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import ORIGINAL, StoreLayout
from service.cli.backup.archive import FORMAT, HEADER, LEDGER, STORE, ArchiveWriter, Told
from worker.protocol.errors import BackupRefused
from worker.protocol.keys import Key
from worker.protocol.ledger.backup import Moment
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.signing import SigningKey

TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A finished backup."""

    path: Path
    size_bytes: int
    version: str
    """Live version at the moment of the backup."""
    num_batches: int
    left_out: tuple[str, ...]
    """Versions whose files are missing although the ledger lists them."""


def make_backup(
    ledger: Ledger,
    layout: StoreLayout,
    target: Path,
    *,
    on_bytes: Told,
    on_total: Told,
    key: SigningKey | None = None,
) -> Made:
    """Write ledger and store into ``target``, which appears complete or not at all. Only its owner may read it.

    With ``key``, the backup is signed.

    Raises BackupRefused if the live version's files are missing, LedgerDown and OSError.
    """
    for left in target.parent.glob(f".{target.name}.*"):
        left.unlink(missing_ok=True)
    begin = partial(ArchiveWriter, on_bytes=on_bytes, key=key)
    with ExitStack() as held:
        moment, versions = _hold_moment(ledger, layout, held)
        on_total(sum(path.stat().st_size for _, path in _files(layout, versions)))
        write_durably(target, lambda path: _write(path, ledger, layout, moment, versions=versions, begin=begin))
    ledger.audit.note("backup.made", who="errata backup", name=target.name, size_bytes=target.stat().st_size)
    pointer = moment.pointer()
    return Made(
        path=target,
        size_bytes=target.stat().st_size,
        version=pointer[1] if pointer else ORIGINAL,
        num_batches=len(moment.members(Key.BATCHES)),
        left_out=tuple(sorted(set(moment.kept_versions()) - set(versions))),
    )


def _hold_moment(ledger: Ledger, layout: StoreLayout, held: ExitStack) -> tuple[Moment, list[str]]:
    """Read a moment of the ledger and lock its versions to keep them on disk."""
    for _ in range(TRIES):
        moment = ledger.backup.moment()
        versions = [version for version in moment.kept_versions() if _hold(layout, version, held)]
        if len(versions) == len(moment.kept_versions()):
            return moment, versions
    pointer = moment.pointer()
    if pointer is not None and pointer[1] not in {*versions, ORIGINAL}:
        raise BackupRefused(f"the files of the live version {pointer[1]} are missing: see `errata recover` first")
    return moment, versions


def _hold(layout: StoreLayout, version: str, held: ExitStack) -> bool:
    try:
        held.enter_context(locked(layout.version_dir(version), shared=True))
    except FileNotFoundError:
        return False
    return layout.manifest_file(version).exists()


def _write(
    path: Path,
    ledger: Ledger,
    layout: StoreLayout,
    moment: Moment,
    *,
    versions: list[str],
    begin: Callable[[Path], ArchiveWriter],
) -> None:
    dump = path.with_name(f"{path.name}.ledger")
    for file in (path, dump):
        file.touch(mode=0o600)
    writer = begin(path)
    try:
        with dump.open("w", encoding="utf-8") as rows:
            rows.writelines(f"{piece.to_line()}\n" for piece in ledger.backup.dump(moment))
        writer.add_bytes(HEADER, _header(layout, moment))
        writer.add_file(LEDGER, dump)
        for name, content in _marks(moment, versions):
            writer.add_bytes(f"{STORE}/{name}", content)
        for name, source in _files(layout, versions):
            _add(writer, name, source)
        writer.close()
    finally:
        writer.abandon()
        dump.unlink(missing_ok=True)


def _add(writer: ArchiveWriter, name: str, source: Path) -> None:
    try:
        writer.add_file(f"{STORE}/{name}", source)
    except FileNotFoundError:  # a z file that no edit needs was removed in the meantime
        if not name.startswith("targets/"):
            raise


def _header(layout: StoreLayout, moment: Moment) -> bytes:
    pointer = moment.pointer()
    header = {
        "format": FORMAT,
        "store": open_identity(layout.root).id,
        "made": timestamp(utc_now()),
        "version": pointer[1] if pointer else ORIGINAL,
        "audit_entries": moment.audit_length,
    }
    return json.dumps(header, indent=1).encode()


def _marks(moment: Moment, versions: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the files that record the ledger's state on disk, as of the moment."""
    pointer = moment.pointer()
    if pointer is not None:
        yield "HEAD", f"{json.dumps({'revision': pointer[0], 'version': pointer[1]})}\n".encode()
    pinned, candidates = moment.members(Key.PINS), moment.candidates()
    for version in versions:
        if version not in candidates:
            yield f"versions/{version}/published", b""
        if version in pinned:
            yield f"versions/{version}/pinned", b""


def _files(layout: StoreLayout, versions: list[str]) -> list[tuple[str, Path]]:
    """Return the name within the store and the path of every file that is copied unchanged."""
    single = [layout.store_file, layout.model_file, layout.settings_file, layout.api_keys]
    paths = [path for path in single if path.exists()]
    for version in versions:
        paths += [layout.manifest_file(version), layout.tensor_file(version)]
    for folder in (layout.artefacts_dir, layout.targets_dir):
        paths += sorted(path for path in folder.rglob("*") if path.is_file() and _is_settled(path, folder))
    return [(path.relative_to(layout.root).as_posix(), path) for path in paths]


def _is_settled(path: Path, folder: Path) -> bool:
    """Whether the file is complete. The names of incomplete files begin with a dot."""
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)
