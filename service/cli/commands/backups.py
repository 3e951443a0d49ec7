"""``errata backup`` and ``errata restore``: write ledger and store to one file, and read them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from editing_core.errors import InvalidSettings
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from service.cli.backup.making import make_backup
from service.cli.backup.restoring import restore_backup
from service.cli.commands.upkeep import reached
from service.cli.options import DataOption, RedisOption
from service.cli.output import CommandFailed, stderr, stdout
from worker.protocol.connections import connect
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.redis_address import redis_address
from worker.protocol.settings import read_settings
from worker.protocol.signing import read_signing_key


def backup(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER",
            help="File to write, or an existing folder: the file then gets a name with store and time.",
        ),
    ],
    *,
    data: DataOption = None,
    redis: RedisOption = None,
) -> None:
    """Write ledger and store to one file while the service runs. Run it on the machine with the data folder.

    The file appears complete or not at all. It holds the texts of edits and the hashes of API keys: keep it safe.
    With ERRATA_SIGNING_KEY_FILE, it is signed.
    """
    settings = read_settings(data=data, redis_url=redis)
    key = read_signing_key(settings.signing_key_file)
    layout = StoreLayout(settings.data)
    if not layout.store_file.exists():
        raise InvalidSettings(f"there is no version store in {settings.data}: name its folder by --data")
    store = open_identity(settings.data).id
    path = target / f"errata-{store}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar" if target.is_dir() else target
    if path.exists():
        raise InvalidSettings(f"{path} exists already: name another file")
    if path.suffix != ".tar":
        raise InvalidSettings(f"there is no folder {target}: create it, or name a file that ends in .tar")
    try:
        with reached(settings) as url, connect(url) as client, _bar("writing") as (on_bytes, on_total):
            made = make_backup(Ledger(client, Keys(store)), layout, path, on_bytes=on_bytes, on_total=on_total, key=key)
    except OSError as error:
        raise CommandFailed(f"{error.filename or path}: {error.strerror or error}; there is no backup") from error
    stdout().print(
        f"{made.path}: {made.size_bytes / 1e6:.1f} MB, {made.num_batches} batches, live version {made.version}",
        soft_wrap=True,
    )
    for version in made.left_out:
        stderr().print(f"the files of {version} are missing, so the backup does not contain them", soft_wrap=True)


def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="File written by `errata backup`.", exists=True)],
    *,
    data: DataOption = None,
    redis: RedisOption = None,
) -> None:
    """Create a data folder and its ledger from a backup. Afterwards, start Errata on the folder.

    Refused if the folder is not empty or if Redis knows the store already. With ERRATA_SIGNING_KEY_FILE, also refused
    unless that key signed the backup. Without --redis, the ledger goes into the
    embedded Redis of the new folder.
    """
    settings = read_settings(data=data, redis_url=redis)
    key = read_signing_key(settings.signing_key_file)
    console = stderr()
    with _bar("checking") as (on_bytes, on_total):
        on_total(source.stat().st_size)
        done = restore_backup(
            source,
            settings.data,
            redis_url=None if settings.redis_url is None else redis_address(settings),
            on_bytes=on_bytes,
            say=lambda words: console.print(words, soft_wrap=True),
            key=key,
        )
    stdout().print(
        f"{done.data} is the store {done.store} as of {done.made}, live version {done.version}", soft_wrap=True
    )


Told = Callable[[int], None]


@contextmanager
def _bar(what: str) -> Iterator[tuple[Told, Told]]:
    """Yield a callback for processed bytes and one for their total. The bar is shown on terminals only."""
    console = stderr()
    columns = (TextColumn("{task.description:<10}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done: bar.advance(task, done), lambda total: bar.update(task, total=total)
