"""Signs backups and copies of the audit with a secret key: HMAC-SHA256 over a text that covers their content.

The key is the content of a file that only its owner may read (``ERRATA_SIGNING_KEY_FILE``). Torch-free.
"""

from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path

from editing_core.errors import InvalidSettings

LEAST_KEY_BYTES = 32
MOST_KEY_BYTES = 4096
_CREATE = "create one with `(umask 077; head -c 32 /dev/urandom > FILE)`"


class SigningKey:
    """A secret key. Signatures for one purpose are not valid for another one."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, purpose: str, content: bytes) -> str:
        """Return the signature of ``content`` as hexadecimal text."""
        return hmac.new(self._secret, purpose.encode() + b"\0" + content, hashlib.sha256).hexdigest()

    def has_signed(self, purpose: str, content: bytes, signature: str) -> bool:
        """Whether this key made the signature. Takes the same time for every wrong signature."""
        return hmac.compare_digest(self.sign(purpose, content).encode(), signature.encode())


def read_signing_key(path: Path | None) -> SigningKey | None:
    """Return the key in the file; None without a file.

    Raises InvalidSettings if the file cannot be read, if others than its owner may read it, or if it is too short.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            secret = file.read(MOST_KEY_BYTES + 1)
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        reason = error.strerror or error
        raise InvalidSettings(f"the signing key {path} cannot be read ({reason}): {_CREATE}") from error
    if mode & 0o077:
        raise InvalidSettings(
            f"the signing key {path} has the mode {mode:04o}, so others may read it: chmod 600 {path}"
        )
    if not LEAST_KEY_BYTES <= len(secret) <= MOST_KEY_BYTES:
        raise InvalidSettings(
            f"the signing key {path} has {min(len(secret), MOST_KEY_BYTES + 1)} bytes, and {LEAST_KEY_BYTES} to "
            f"{MOST_KEY_BYTES} are needed: {_CREATE}"
        )
    return SigningKey(secret)
