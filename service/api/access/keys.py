"""API keys: a file of hashed keys with their names and scopes.

A key is 256 random bits, so its SHA-256 cannot be reversed. The key itself is shown once and stored nowhere. The file
is read again when it changes on disk. This module does not depend on HTTP.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from editing_core.clock import timestamp, utc_now
from editing_core.errors import InvalidSettings, NotFound
from editing_core.versions.layout import StoreLayout
from worker.protocol.audit.notes import leave_note

Scope = Literal["read", "edit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""All scopes, from the narrowest to the widest. Each scope includes those before it."""
KEY_PREFIX = "errata_"
FORMAT = 1
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key: its owner and its scopes."""

    name: str
    sha256: str
    """Hex digest of the whole key."""
    scopes: tuple[Scope, ...]
    created: str
    """Time in ISO 8601 with Z."""

    @property
    def widest(self) -> Scope:
        """The scope that includes all others of the key."""
        return max(self.scopes, key=SCOPES.index)

    def allows(self, scope: Scope) -> bool:
        """Whether the key has this scope or a wider one."""
        return any(SCOPES.index(own) >= SCOPES.index(scope) for own in self.scopes)


class KeyFile:
    """The keys of one installation, in one JSON file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        self._were_required = False

    def keys(self) -> tuple[ApiKey, ...]:
        """All keys, read from disk only when the file has changed.

        Raises InvalidSettings if the file cannot be read as keys; no key is accepted then.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, ()
            return ()
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen != self._seen:
            self._keys = _read(self._path)
            self._seen = seen
        return self._keys

    @property
    def are_required(self) -> bool:
        """Whether a request needs a key: the installation has keys, or once had some.

        If the last key is removed or the file is lost, the service must not become open to all local users.
        """
        self._were_required = self._were_required or bool(self.keys()) or self._path.exists() or self._marker.exists()
        return self._were_required

    @property
    def _marker(self) -> Path:
        """Path of an empty file that exists since the first key was created."""
        return self._path.with_suffix(".required")

    def find(self, presented: str) -> ApiKey | None:
        """Return the presented key, or None. Every key is compared in constant time."""
        digest = _digest(presented)
        found = None
        for key in self.keys():
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def add(self, name: str, scopes: Iterable[Scope]) -> str:
        """Create a key and return it; it cannot be shown again. Raises InvalidSettings if the name is in use."""
        chosen = tuple(scope for scope in SCOPES if scope in set(scopes))
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise InvalidSettings(f"{name!r} is not a name for a key: use 1 to {LONGEST_NAME} printable characters")
        if not chosen:
            raise InvalidSettings(f"key {name!r} needs a scope: one of {', '.join(SCOPES)}")
        secret = KEY_PREFIX + secrets.token_urlsafe(32)
        with self._locked() as keys:
            if any(key.name == name for key in keys):
                raise InvalidSettings(f"there is a key named {name!r} already: remove it first or choose another name")
            created = timestamp(utc_now(), timespec="seconds")
            self._marker.touch(mode=0o600)
            keys.append(ApiKey(name=name, sha256=_digest(secret), scopes=chosen, created=created))
        self._note("key.added", key=name, scopes=list(chosen))
        return secret

    def remove(self, name: str) -> None:
        """Remove a key, which is refused from then on. Raises NotFound."""
        with self._locked() as keys:
            left = [key for key in keys if key.name != name]
            if len(left) == len(keys):
                raise NotFound(f"there is no key named {name!r}: `errata keys list` lists the keys")
            keys[:] = left
        self._note("key.removed", key=name)

    def _note(self, what: str, **fields: Any) -> None:
        """Write a note for the audit. Redis may be unreachable here, so the worker copies the note into the audit."""
        leave_note(StoreLayout(self._path.parent).notes_dir, what, who="errata keys", **fields)

    @contextmanager
    def _locked(self) -> Iterator[list[ApiKey]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = [*self.keys()]
            yield keys
            _write(self._path, keys)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> tuple[ApiKey, ...]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise InvalidSettings(f"{path} has format {document['format']}, not {FORMAT}: update Errata")
        return tuple(ApiKey(**{**row, "scopes": tuple(row["scopes"])}) for row in document["keys"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidSettings(f"{path} is not a file of API keys ({error}): restore it or remove it") from error


def _write(path: Path, keys: Iterable[ApiKey]) -> None:
    """Write the whole file under another name, then rename it."""
    fresh = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"format": FORMAT, "keys": [asdict(key) for key in keys]}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
