"""Reads and writes the file of a backup: a tar archive without compression, processed as a stream.

``backup.json`` (format, store, moment) comes first, followed by ``ledger.jsonl`` and ``store/…``. The last file is
``digests.json`` with the SHA-256 of each file, so a truncated archive has no digests. With a signing key, the signature
of ``digests.json`` follows in ``signature``. This module does not interpret the contents of the files.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from editing_core.durable import sync
from worker.protocol.errors import BackupRefused
from worker.protocol.signing import SigningKey

FORMAT = 1
HEADER = "backup.json"
LEDGER = "ledger.jsonl"
STORE = "store"
DIGESTS = "digests.json"
SIGNATURE = "signature"
PURPOSE = "errata-backup"
PIECE_BYTES = 1 << 20
LARGEST_INDEX_BYTES = 1 << 30
LARGEST_HEADER_BYTES = 1 << 16
_LARGEST_ENDING = {DIGESTS: LARGEST_INDEX_BYTES, SIGNATURE: 1 << 10}
"""The files after all others, which have no digest, and their largest sizes in bytes."""
_PART = r"[A-Za-z0-9][A-Za-z0-9._@+=-]*"
_MEMBER = re.compile(
    rf"{re.escape(HEADER)}|{re.escape(LEDGER)}|{STORE}/("
    r"store\.json|model\.json|settings\.json|api-keys\.json|HEAD"
    r"|versions/v[1-9][0-9]{0,17}/(manifest\.json|tensors\.safetensors|published|pinned)"
    rf"|(artefacts|targets)(/{_PART}){{1,8}})"
)
"""Every file that a backup may hold, except its digests. Files of Redis are excluded: Redis would replay them."""

Told = Callable[[int], None]
"""Called with a number of bytes: those just processed, or the total."""


class ArchiveWriter:
    """Writes one archive, which is complete when ``close`` has returned."""

    def __init__(self, path: Path, *, on_bytes: Told, key: SigningKey | None = None) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by close
        self._on_bytes = on_bytes
        self._key = key
        self._digests: dict[str, str] = {}

    def add_file(self, name: str, path: Path) -> None:
        """Add a file. Raises FileNotFoundError before anything is written."""
        with path.open("rb") as file:
            self._add(name, file, os.fstat(file.fileno()).st_size)

    def add_bytes(self, name: str, content: bytes) -> None:
        """Add a small file with this content."""
        self._add(name, io.BytesIO(content), len(content))

    def close(self) -> None:
        """Add the digests and their signature, and close the archive."""
        index = json.dumps({"format": FORMAT, "sha256": self._digests}).encode()
        self.add_bytes(DIGESTS, index)
        if self._key is not None:
            self.add_bytes(SIGNATURE, self._key.sign(PURPOSE, index).encode())
        self._tar.close()

    def abandon(self) -> None:
        """Close the file without completing the archive."""
        if self._tar.fileobj is not None:
            self._tar.fileobj.close()

    def _add(self, name: str, file: IO[bytes], size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        reader = _Hashing(file, self._on_bytes)
        self._tar.addfile(info, reader)
        self._digests[name] = reader.hexdigest()


class _Digests(BaseModel):
    """Content of ``digests.json``, the last file of the archive."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: int
    sha256: dict[str, str]


class _Hashing:
    """Hashes a file while it is read."""

    def __init__(self, file: IO[bytes], on_bytes: Told) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._on_bytes = on_bytes

    def read(self, size: int = PIECE_BYTES) -> bytes:
        content = self._file.read(size)
        self._hash.update(content)
        self._on_bytes(len(content))
        return content

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def unpack(source: Path, folder: Path, *, on_bytes: Told, key: SigningKey | None = None) -> tuple[dict[str, Any], str]:
    """Write the archive's files under ``folder`` and check their digests.

    Returns the header and the SHA-256 of ``digests.json``, which identifies the backup. Raises BackupRefused if the
    file is not a backup, is truncated or was changed, and with ``key`` also if this key has not signed it.
    """
    digests: dict[str, str] = {}
    ending: dict[str, bytes] = {}
    try:
        with tarfile.open(source, "r|") as tar:
            for name, content in _plain_files(tar, source):
                if name in {*digests, *ending}:
                    raise BackupRefused(f"{source} holds {name!r} twice: it is not a backup")
                if name in _LARGEST_ENDING:
                    ending[name] = content.read(_LARGEST_ENDING[name])
                elif ending:
                    raise BackupRefused(f"{source} holds {name!r} after its digests: it is not a backup")
                else:
                    digests[name] = _unpack_one(content, folder / _safe(name, source), on_bytes)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise BackupRefused(f"{source} cannot be read ({error}): it is not a backup, or was cut off") from None
    except OSError as error:
        raise BackupRefused(f"{error.filename or source}: {error.strerror or error}") from error
    index = ending.get(DIGESTS)
    if index is None:
        raise BackupRefused(f"{source} has no digests at its end: it was cut off; use another backup")
    if key is not None:
        _require_signature(source, index, ending.get(SIGNATURE), key)
    _require_digests(source, _digests_in(index, source), digests)
    return _header(source, folder), hashlib.sha256(index).hexdigest()


def _plain_files(tar: tarfile.TarFile, source: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for member in tar:
        content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
        if content is None:
            raise BackupRefused(f"{source} holds {member.name!r}, which is not a plain file: it is not a backup")
        yield member.name, content


def _require_signature(source: Path, index: bytes, signature: bytes | None, key: SigningKey) -> None:
    if signature is None:
        raise BackupRefused(f"{source} is not signed, and a signing key is set: make backups with the same key")
    if not key.has_signed(PURPOSE, index, signature.decode("ascii", errors="replace")):
        raise BackupRefused(f"{source} is not signed by this signing key: it was changed, or made with another key")


def _unpack_one(content: IO[bytes], path: Path, on_bytes: Told) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    reader = _Hashing(content, on_bytes)
    path.touch(mode=0o600)
    with path.open("wb") as file:
        while piece := reader.read():
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)
    return reader.hexdigest()


def _safe(name: str, source: Path) -> PurePosixPath:
    if not _MEMBER.fullmatch(name):
        raise BackupRefused(f"{source} holds a file named {name!r}, which no backup of Errata holds")
    return PurePosixPath(name)


def _digests_in(index: bytes, source: Path) -> dict[str, str]:
    try:
        return TypeAdapter(_Digests).validate_json(index).sha256
    except ValueError:
        raise BackupRefused(f"{source} has digests that cannot be read: it is damaged or not a backup") from None


def _require_digests(source: Path, expected: dict[str, str], found: dict[str, str]) -> None:
    wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise BackupRefused(f"{source} is damaged: {wrong[0]}{more} differ from their digests; use another backup")


def _header(source: Path, folder: Path) -> dict[str, Any]:
    path = folder / HEADER
    try:
        content = path.read_bytes() if path.exists() and path.stat().st_size <= LARGEST_HEADER_BYTES else b"{}"
        header = TypeAdapter(dict[str, Any]).validate_json(content)
    except ValueError:
        raise BackupRefused(f"{source} has a {HEADER} that cannot be read: it is damaged or not a backup") from None
    if header.get("format") != FORMAT:
        raise BackupRefused(
            f"{source} has format {header.get('format')!r}, and this Errata reads format {FORMAT}: use the Errata that "
            "made it"
        )
    return header
