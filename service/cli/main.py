"""Entry point of ``errata``: registers the commands and turns their errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from editing_core.errors import ErrataError
from service.cli.commands import (
    asking,
    backups,
    configuring,
    editing,
    exporting,
    guarding,
    looking,
    sets,
    starting,
    upkeep,
    verifying,
)
from service.cli.commands import auditing as records
from service.cli.output import CommandFailed, ExitCode, complain
from service.client.errors import (
    ErrataApiError,
    InvalidRequest,
    ServiceUnreachable,
    UnexpectedAnswer,
    WaitTimedOut,
)

_HELP = (
    "Errata corrects what a running language model believes.\n\n"
    "Exit codes: 0: success. 1: the operation did not succeed, for example because a batch was rejected. 2: wrong "
    "options, settings or input files. 3: the service does not answer. 4: the service refused the request. Every error "
    "is one line on stderr.\n\n"
    "Most options can also be given as environment variables, which the help shows. An option overrides its variable."
)

app = typer.Typer(name="errata", help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"errata {version('errata')}")
        raise typer.Exit


@app.callback()
def _errata(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


_PASSED_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}
_STARTING, _EDITING, _ASKING, _UPKEEP = "Start", "Edit", "Ask the model", "Operate"
app.command(rich_help_panel=_STARTING)(starting.up)
app.command(rich_help_panel=_STARTING)(starting.serve)
app.command(rich_help_panel=_STARTING)(starting.worker)
for command in (starting.prepare, starting.evaluate):
    app.command(rich_help_panel=_STARTING, add_help_option=False, context_settings=_PASSED_THROUGH)(command)
app.command(rich_help_panel=_EDITING)(editing.edit)
app.command(rich_help_panel=_EDITING)(looking.edits)
app.command(rich_help_panel=_EDITING)(looking.batches)
app.command(rich_help_panel=_EDITING)(looking.versions)
app.command(rich_help_panel=_EDITING)(looking.promote)
app.command(rich_help_panel=_EDITING)(sets.take_out)
app.command(rich_help_panel=_EDITING)(sets.discard)
app.command(rich_help_panel=_EDITING)(sets.diff)
app.add_typer(guarding.guards, name="guards", rich_help_panel=_EDITING)
app.command(rich_help_panel=_ASKING)(asking.generate)
app.command(rich_help_panel=_ASKING)(asking.score)
app.command(rich_help_panel=_UPKEEP)(configuring.config)
app.command(rich_help_panel=_UPKEEP)(configuring.redis_users)
app.command(rich_help_panel=_UPKEEP)(records.audit)
app.command(rich_help_panel=_UPKEEP)(records.pin)
app.command(rich_help_panel=_UPKEEP)(records.unpin)
app.command(rich_help_panel=_UPKEEP)(records.purge)
app.command(rich_help_panel=_UPKEEP)(backups.backup)
app.command(rich_help_panel=_UPKEEP)(backups.restore)
app.command(rich_help_panel=_UPKEEP)(exporting.export)
app.command(rich_help_panel=_UPKEEP)(exporting.exports)
app.add_typer(upkeep.keys, name="keys", rich_help_panel=_UPKEEP)
app.command(rich_help_panel=_UPKEEP)(upkeep.recover)
app.command(rich_help_panel=_UPKEEP)(verifying.verify)
for command in (starting.rebuild, starting.migrate):
    app.command(rich_help_panel=_UPKEEP, add_help_option=False, context_settings=_PASSED_THROUGH)(command)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; every error is one line on stderr."""
    try:
        result = app(args=list(arguments), prog_name="errata", standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has closed the pipe, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except _EXPECTED as error:
        message, code = _message_and_code(error)
        if message:
            complain(message)
        return code
    return result if isinstance(result, int) else ExitCode.OK


_EXPECTED = (
    CommandFailed,
    ErrataApiError,
    ErrataError,
    InvalidRequest,
    ServiceUnreachable,
    UnexpectedAnswer,
    WaitTimedOut,
    typer.TyperException,
)


def _message_and_code(error: Exception) -> tuple[str, int]:
    match error:
        case CommandFailed():
            return str(error), error.code
        case ErrataApiError():
            return str(error), ExitCode.REFUSED
        case ServiceUnreachable() | UnexpectedAnswer():
            return (
                f"{error}. Is the service running? `errata up` starts it; --url gives its address",
                ExitCode.UNREACHABLE,
            )
        case WaitTimedOut():
            return str(error), ExitCode.FAILED
        case typer.TyperException():
            words = error.format_message()
            return f"{words} (see --help)" if words else "", ExitCode.USAGE
    return str(error), ExitCode.USAGE


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
