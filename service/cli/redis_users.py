"""The users of a shared Redis: one for each kind of process, with only the keys, commands and channels that it needs.

Passwords are random and generated on the first call. The file of users holds their hashes only, so Redis never sees
a password before a process sends it. The default user is off: a client without a password gets no answer.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from editing_core.durable import write_durably

USERS_FILE = Path("redis", "users.acl")
PASSWORD_FILE = "password"  # noqa: S105  # a file's name
PASSWORD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Rules:
    """What one user may do, in the words of Redis' ACL."""

    keys: tuple[str, ...]
    channels: tuple[str, ...]
    commands: tuple[str, ...]


_LEDGER = "errata:*"
_REPORTS = ("+ping", "+info", "+config|get", "+select", "+hello", "+auth")
_CHANGES = ("+@read", "+@write", "+@transaction", "+evalsha", "+script|load", "+time", "-@dangerous")
"""No EVAL: the client library loads a script once and runs it by its digest."""
_SUBSCRIPTIONS = ("+subscribe", "+psubscribe", "+unsubscribe", "+punsubscribe")

RULES = {
    "api": Rules(
        keys=(_LEDGER, "rq:queues", "rq:queue:errata-*", "rq:job:*", "rq:results:*"),
        channels=(_LEDGER,),
        commands=(*_CHANGES, *_REPORTS, "+publish", "+client|list", *_SUBSCRIPTIONS),
    ),
    "generation": Rules(
        keys=(_LEDGER, "rq:queue:errata-*"),
        channels=(_LEDGER,),
        commands=("+@read", "-@dangerous", *_REPORTS, "+client|setname", *_SUBSCRIPTIONS),
    ),
    "worker": Rules(
        keys=(_LEDGER, "rq:*"),
        channels=(_LEDGER, "rq:*"),
        commands=(
            *(*_CHANGES, *_REPORTS, "+publish", *_SUBSCRIPTIONS),
            *("+brpop", "+blpop", "+blmove", "+brpoplpush", "+client|setname", "+bgrewriteaof"),
        ),
    ),
}
"""The worker's user also serves the commands that need the data folder: backup, restore, recover and verify."""


def write_users(folder: Path) -> dict[str, Path]:
    """Write ``redis/users.acl`` and a password file per user, and return the password files by user.

    Existing passwords are kept, so that a restart does not lock running processes out. Delete a password file and call
    this again to change that password. Raises OSError.
    """
    files = {user: folder / user / PASSWORD_FILE for user in RULES}
    lines = [
        "user default off nopass resetkeys resetchannels -@all",
        "user probe on nopass resetkeys resetchannels -@all +ping",
        *(_line(user, RULES[user], _password(file)) for user, file in files.items()),
    ]
    write_durably(folder / USERS_FILE, lambda path: path.write_text("\n".join(lines) + "\n", encoding="ascii"))
    return files


def _line(user: str, rules: Rules, password: str) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    keys = " ".join(f"~{pattern}" for pattern in rules.keys)
    channels = " ".join(f"&{pattern}" for pattern in rules.channels)
    return f"user {user} on #{digest} resetkeys {keys} resetchannels {channels} -@all {' '.join(rules.commands)}"


def _password(file: Path) -> str:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        content = secrets.token_hex(PASSWORD_BYTES)
        write_durably(file, lambda path: _write_secret(path, content))
    return file.read_text(encoding="ascii").strip()


def _write_secret(path: Path, content: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(content)
