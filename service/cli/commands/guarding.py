"""``errata guards``: lists, adds and removes guards, the facts that must not change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from editing_core.errors import InvalidEdit, InvalidSettings
from editing_core.guards import Guard, validate_guard
from service.cli.options import JsonOption, KeyOption, UrlOption, open_client
from service.cli.output import print_json, stderr, stdout, table

_FIELDS = {"prompt", "target", "subject"}
_INLINE = "One guard without a file"

guards = typer.Typer(
    help="Facts that must not change. From the next version on, every check tests them and every solve preserves them.",
    no_args_is_help=True,
)


@guards.command("list")
def list_guards(*, url: UrlOption = None, api_key: KeyOption = None, as_json: JsonOption = False) -> None:
    """List the guards."""
    with open_client(url, api_key) as client:
        found = list(client.guards())
    if as_json:
        print_json(found)
        return
    columns = ("guard", "prompt", "target", "subject", "author")
    stdout().print(table(columns, [(g.id, g.prompt, g.target, g.subject, g.author) for g in found]))


@guards.command("add")
def add_guards(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="JSONL with one guard per line: prompt, target and optionally subject.", show_default=False
        ),
    ] = None,
    *,
    prompt: Annotated[
        str | None, typer.Option(help="Prompt with the subject written out.", rich_help_panel=_INLINE)
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The text that the model must keep after the prompt.", rich_help_panel=_INLINE)
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="The entity that the fact is about, exactly as in the prompt.", rich_help_panel=_INLINE),
    ] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add guards: all of them, or none if one is invalid. A guard that exists already stays as it is."""
    inline = {"prompt": prompt, "target": target, "subject": subject}
    given = {name: value for name, value in inline.items() if value is not None}
    if (file is None) == (not given):
        raise InvalidSettings("give either FILE, or one guard by --prompt and --target")
    wanted = _checked(given, "options") if file is None else None
    with open_client(url, api_key) as client:
        kept = client.add_guards([wanted] if wanted is not None else _read(file))
    if as_json:
        print_json(kept)
        return
    stderr().print(f"{len(kept)} guards kept: they apply from the next version on")
    for guard in kept:
        stdout().print(guard.id)


@guards.command("remove")
def remove_guard(
    guard: Annotated[str, typer.Argument(help="Id of the guard, as shown by `errata guards list`.")],
    *,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Remove a guard. From the next version on it no longer applies."""
    with open_client(url, api_key) as client:
        gone = client.remove_guard(guard)
    stderr().print(f"{gone.id} is removed: {gone.prompt} → {gone.target}")


def _read(file: Path | None) -> list[dict[str, Any]]:
    assert file is not None
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{file}: cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                raise InvalidSettings(f"{file}:{number}: is not JSON: {reason}") from None
            found.append(_checked(record, f"{file}:{number}"))
    if not found:
        raise InvalidSettings(f"{file}: holds no guards")
    return found


def _checked(record: object, place: str) -> dict[str, Any]:
    if not isinstance(record, dict) or not set(record) <= _FIELDS or not {"prompt", "target"} <= set(record):
        raise InvalidSettings(f"{place}: is not a guard: give prompt, target and optionally subject")
    if not all(isinstance(value, str) or (name == "subject" and value is None) for name, value in record.items()):
        raise InvalidSettings(f"{place}: prompt, target and subject must be text")
    try:
        validate_guard(Guard.from_json(record))
    except InvalidEdit as error:
        raise InvalidSettings(f"{place}: {error.detail}") from None
    return record
