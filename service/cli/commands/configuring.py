"""``errata config`` and ``errata redis-users``: settings with their sources, and users for a shared Redis.

Both start nothing and send nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import LISTEN_SETTINGS, PROCESS_SETTINGS, SOLVE_SETTINGS, JsonOption, takes_settings
from service.cli.output import CommandFailed, print_json, stdout, table
from service.cli.redis_users import USERS_FILE, write_users
from worker.protocol.configuration.effective import Source
from worker.protocol.settings import explained_settings, is_basic

AllOption = Annotated[bool, typer.Option("--all", help="Print all advanced settings too.")]


@takes_settings(*PROCESS_SETTINGS, *LISTEN_SETTINGS, *SOLVE_SETTINGS)
def config(
    context: typer.Context, options: dict[str, object], show_all: AllOption = False, as_json: JsonOption = False
) -> None:
    """Print the settings with their values and sources: default, file, environment or option. Secrets are hidden.

    Without --all, an advanced setting is left out if it has its default.

    With the options of `errata up`, it prints what `errata up` would run with, and refuses the same wrong settings.
    """
    found = explained_settings(**{name: value for name, value in options.items() if _is_typed(context, name)})
    if not show_all:
        found = [row for row in found if is_basic(row.name) or row.source is not Source.DEFAULT]
    if as_json:
        print_json([asdict(row) for row in found])
        return
    rows = [(row.variable, "" if row.value is None else row.value, row.source.value) for row in found]
    stdout().print(table(("setting", "value", "source"), rows))


def redis_users(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the users and their passwords.")],
) -> None:
    """Write the users of a shared Redis: one per kind of process, with only the rights that it needs.

    FOLDER/redis/users.acl is for Redis (--aclfile). FOLDER/USER/password is for the process that connects as USER
    (api, generation or worker). Existing passwords are kept.
    """
    try:
        files = write_users(folder)
    except OSError as error:
        raise CommandFailed(f"{error.filename or folder}: {error.strerror or error}") from error
    stdout().print(f"{folder / USERS_FILE}: start Redis with --aclfile", soft_wrap=True)
    for user, file in files.items():
        stdout().print(f"{file}: REDIS_URL=redis://{user}@HOST ERRATA_REDIS_PASSWORD_FILE={file}", soft_wrap=True)


def _is_typed(context: typer.Context, name: str) -> bool:
    """Whether the option is on the command line. Environment variables are read with the settings."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
