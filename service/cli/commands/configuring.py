"""``errata config``: prints the settings in force with their sources. Starts nothing and sends nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.options import LISTEN_SETTINGS, PROCESS_SETTINGS, SOLVE_SETTINGS, JsonOption, takes_settings
from service.cli.output import print_json, stdout, table
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


def _is_typed(context: typer.Context, name: str) -> bool:
    """Whether the option is on the command line. Environment variables are read with the settings."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
