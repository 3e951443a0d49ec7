"""Signs the copy of the audit chain, piece by piece, because the copy only grows.

The file of signatures lies next to the copy. Each of its lines covers one piece of the copy and the signature before
it: ``{"size_bytes": …, "signature": …}``, with the size of the copy at the end of the piece. So signing costs as much
as the new lines. An attacker without the key can shorten both files together to an earlier state, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from editing_core.durable import sync
from editing_core.errors import ErrataError
from worker.protocol.signing import SigningKey

PURPOSE = "errata-audit"
PIECE_BYTES = 1 << 20
TAIL_BYTES = 4096
"""More than the length of two signatures."""


class _Signed(BaseModel):
    """One line of the file of signatures."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    size_bytes: int
    signature: str


_LINE = TypeAdapter(_Signed)
_START = _Signed(size_bytes=0, signature="")


def signatures_of(copy: Path) -> Path:
    """Return the file of signatures of a copy of the audit."""
    return copy.with_name(f"{copy.name}.sig")


def sign_copy(copy: Path, key: SigningKey) -> None:
    """Sign what the copy holds beyond its last signature. Raises ErrataError if the signatures do not fit the copy."""
    path = signatures_of(copy)
    with copy.open("rb") as file, os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as signatures:
        try:
            last = _last(signatures)
            size = file.seek(0, os.SEEK_END)
            if size == last.size_bytes:
                return
            file.seek(last.size_bytes)
            digest = _digest(file, max(size - last.size_bytes, 1))
        except ValueError as error:
            raise ErrataError(f"{path} does not fit {copy.name} ({error}): move both files away") from None
        signature = key.sign(PURPOSE, _covered(last, size, digest))
        signatures.write(json.dumps({"size_bytes": size, "signature": signature}).encode() + b"\n")
        signatures.flush()
        os.fsync(signatures.fileno())
    sync(path.parent)


def signature_fault(copy: Path, key: SigningKey) -> str | None:
    """Return why the copy is not signed by this key from beginning to end; None if it is."""
    path = signatures_of(copy)
    if not path.exists():
        return f"it is not signed: there is no {path.name} next to it"
    before = _START
    with copy.open("rb") as file:
        try:
            for signed in _read(path):
                digest = _digest(file, signed.size_bytes - before.size_bytes)
                if not key.has_signed(PURPOSE, _covered(before, signed.size_bytes, digest), signed.signature):
                    return f"bytes {before.size_bytes} to {signed.size_bytes} are not signed by this key"
                before = signed
        except ValueError as error:
            return str(error)
        if file.read(1):
            return f"what follows byte {before.size_bytes} is not signed"
    return None


def _covered(before: _Signed, size_bytes: int, digest: str) -> bytes:
    return json.dumps([before.size_bytes, before.signature, size_bytes, digest]).encode()


def _digest(file: BinaryIO, num_bytes: int) -> str:
    """Return the SHA-256 of the next bytes. Raises ValueError if there are fewer."""
    found = hashlib.sha256()
    left = num_bytes
    while left > 0:
        piece = file.read(min(PIECE_BYTES, left))
        if not piece:
            raise ValueError("it is shorter than its signatures say")
        found.update(piece)
        left -= len(piece)
    return found.hexdigest()


def _last(signatures: BinaryIO) -> _Signed:
    """Return the last signature, and cut off an incomplete line that a crash left behind it."""
    size = signatures.seek(0, os.SEEK_END)
    signatures.seek(max(0, size - TAIL_BYTES))
    tail = signatures.read()
    whole = tail.rfind(b"\n") + 1
    signatures.truncate(size - len(tail) + whole)
    signatures.seek(0, os.SEEK_END)
    line = tail[:whole].rstrip(b"\n").rpartition(b"\n")[2]
    return _LINE.validate_json(line) if line else _START


def _read(path: Path) -> Iterator[_Signed]:
    """Yield the signatures in order. An incomplete last line, which a crash left, is passed over.

    Raises ValueError for a line that cannot be read, and for one whose piece is empty.
    """
    if not path.exists():
        return
    size = 0
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                signed = _LINE.validate_json(line)
            except ValidationError:
                raise ValueError(f"line {number} of {path.name} cannot be read") from None
            if signed.size_bytes <= size:
                raise ValueError(f"line {number} of {path.name} covers nothing")
            size = signed.size_bytes
            yield signed
