"""``errata keys`` and ``errata recover``: commands that need the data folder but no running service."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from editing_core.errors import ErrataError, InvalidSettings
from editing_core.versions.head import Head, read_head
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import ORIGINAL, StoreLayout
from editing_core.versions.manifest import decode_manifest
from service.api.access.keys import SCOPES, KeyFile, Scope
from service.cli.embedded_redis import plan_embedded_redis
from service.cli.options import DataOption, JsonOption, RedisOption
from service.cli.output import CommandFailed, ExitCode, print_json, stderr, stdout, table
from service.cli.up import hold_data
from worker.protocol.connections import connect
from worker.protocol.entities import Pointer
from worker.protocol.errors import LedgerDown
from worker.protocol.head_state import HeadState, compare_head, describe_older_redis, describe_promotion
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.redis_address import redis_address
from worker.protocol.settings import Settings, child_environment, read_settings

keys = typer.Typer(help="API keys of this installation. The data folder holds their hashes.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Owner of the key. The audit log names the owner of each action.")]


@keys.command("add")
def add_key(
    name: NameArgument,
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read: ask and list. edit: send edits too. admin: promote and export too. Default: read. Repeatable."
        ),
    ] = None,
    data: DataOption = None,
) -> None:
    """Create a key and print it. Only its hash is stored, so it cannot be printed again. It is valid at once."""
    print(_key_file(data).add(name, [_scope(text) for text in scope or ["read"]]))
    stderr().print(f"This is the only time that the key of {name} is shown.")


@keys.command("list")
def list_keys(*, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the names and scopes of the keys."""
    found = _key_file(data).keys()
    if as_json:
        print_json([{"name": key.name, "scopes": list(key.scopes), "created": key.created} for key in found])
        return
    stdout().print(table(("name", "scopes", "created"), [(k.name, " ".join(k.scopes), k.created) for k in found]))


@keys.command("remove")
def remove_key(name: NameArgument, *, data: DataOption = None) -> None:
    """Remove a key. The next request with it is refused."""
    keys = _key_file(data)
    keys.remove(name)
    stderr().print(f"The key of {name} is removed.")
    if not keys.keys():
        stderr().print("It was the last key: requests are refused until you create another.")


def recover(
    *,
    from_files: Annotated[bool, typer.Option("--from-files", help="Write the state of the files to Redis.")] = False,
    data: DataOption = None,
    redis: RedisOption = None,
) -> None:
    """Compare the files with Redis and print what to do. Without --from-files, nothing changes."""
    settings = read_settings(data=data, redis_url=redis)
    layout = StoreLayout(settings.data)
    if not layout.store_file.exists():
        raise InvalidSettings(f"there is no version store in {settings.data}: name its folder by --data")
    with _stopped(settings.data, wanted=from_files), reached(settings) as url:
        if from_files:
            _recover_from_files(settings, url)
        head, pointer = read_head(layout), _pointer(settings, url)
    damage = _damage(layout, pointer or head)
    places = (f"on disk: {describe_promotion(head)}", f"in Redis: {describe_promotion(pointer)}")
    for line in (*places, damage or _advice(head, pointer)):
        stdout().print(line, soft_wrap=True)


def _damage(layout: StoreLayout, live: Head | Pointer | None) -> str | None:
    """Read the files of the live version. Returns a description of the damage, or None."""
    if live is None or live.version == ORIGINAL:
        return None
    try:
        file = layout.manifest_file(live.version)
        manifest = decode_manifest(file.read_bytes(), file)
        with layout.tensor_file(live.version).open("rb") as tensors:
            found = f"sha256:{hashlib.file_digest(tensors, 'sha256').hexdigest()}"
    except (ErrataError, OSError) as error:
        return f"The live version {live.version} cannot be read ({error}): {_MENDING}"
    if found == manifest.digest:
        return None
    return (
        f"The files of the live version {live.version} are damaged (digest {found}, not {manifest.digest}): {_MENDING}"
    )


_MENDING = "restore its folder from a backup, or promote another version."


@contextmanager
def _stopped(data: Path, *, wanted: bool) -> Iterator[None]:
    """Lock the data folder against `errata up` if ``wanted``. Raises InvalidSettings if `errata up` runs."""
    if not wanted:
        yield
        return
    with hold_data(data):
        yield


@contextmanager
def reached(settings: Settings) -> Iterator[str]:
    """Yield the address of Redis. If the embedded Redis is not running, it is started for the block."""
    if settings.redis_url is not None:
        yield redis_address(settings)
        return
    embedded = plan_embedded_redis(settings.data)
    try:
        embedded.wait_until_up(0.1)
    except ErrataError:
        embedded.start()
    try:
        yield embedded.url
    finally:
        embedded.stop()


def _recover_from_files(settings: Settings, url: str) -> None:
    head, pointer = read_head(StoreLayout(settings.data)), _pointer(settings, url)
    if compare_head(head, pointer) == HeadState.HEAD_BEHIND:
        raise InvalidSettings(
            f"Redis knows more than the files ({describe_promotion(pointer)}; on disk: {describe_promotion(head)}): "
            "going on from the files would undo that. Start Errata: the worker brings the files up to date by itself"
        )
    environment = child_environment(data=settings.data, redis_url=url)
    command = [sys.executable, "-m", "worker.recovery"]
    done = subprocess.run(command, env=environment, check=False)  # noqa: S603 - our own module
    if done.returncode != 0:
        raise CommandFailed("the ledger was not written, for the reason given above: nothing was changed")


def _pointer(settings: Settings, url: str) -> Pointer | None:
    try:
        return Ledger(connect(url), Keys(open_identity(settings.data).id)).versions.known_pointer()
    except LedgerDown as error:
        raise CommandFailed(str(error), ExitCode.UNREACHABLE) from None


def _advice(head: Head | None, pointer: Pointer | None) -> str:
    state = compare_head(head, pointer)
    if state == HeadState.HEAD_AHEAD:
        assert head is not None
        assert pointer is not None
        return f"{describe_older_redis(head, pointer)}."
    return {
        HeadState.NOTHING_PROMOTED: "Nothing was promoted yet: there is nothing to recover.",
        HeadState.REDIS_EMPTY: "Redis is empty and the store is not: the next start writes the ledger from the files.",
        HeadState.HEAD_BEHIND: "The files are a step behind Redis, as after a crash: the worker mends that by itself.",
        HeadState.EQUAL: "Both agree: there is nothing to recover.",
    }[state]


def _key_file(data: Path | None) -> KeyFile:
    return KeyFile(StoreLayout(read_settings(data=data).data).api_keys)


def _scope(text: str) -> Scope:
    for scope in SCOPES:
        if scope == text:
            return scope
    raise InvalidSettings(f"{text!r} is not a scope: choose from {', '.join(SCOPES)}")
