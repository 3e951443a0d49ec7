"""``errata edits``, ``batches``, ``versions`` and ``promote``: list the state, and choose the live version."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from editing_core.edits import Edit
from editing_core.errors import InvalidSettings
from editing_core.formats.own import write_lines
from editing_core.formats.tables import write_table
from service.cli.commands.auditing import show_retention
from service.cli.options import JsonOption, KeyOption, UrlOption, open_client
from service.cli.output import print_json, stderr, stdout, table
from service.client.schemas import EditRecord, Version

_NUM_IDS_SHOWN = 20
_LONGEST_CELL = 60
"""Largest number of characters of a text in a table. --json prints the whole text."""

LimitOption = Annotated[int, typer.Option(min=1, help="Largest number of rows.")]


def edits(
    *,
    subject: Annotated[str | None, typer.Option(help="Only edits about this subject.")] = None,
    batch: Annotated[str | None, typer.Option(help="Only edits of this batch.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Only edits in this state: live, pending, superseded, rolled_back, rejected, …")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the edits to FILE for `errata edit`, as CSV if its name ends in .csv, else as JSONL. Without "
            "--status and --batch: the live edits.",
        ),
    ] = None,
    limit: LimitOption = 100,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List accepted edits with their status."""
    if export is not None and status is None and batch is None:
        status = "live"
    with open_client(url, api_key) as client:
        found = client.edits(subject=subject, batch=batch, status=status)
        if export is not None:
            _export(list(found), export)
            return
        shown = list(islice(found, limit))
    if as_json:
        print_json(shown)
        return
    columns = ("edit", "status", "subject", "relation", "new object", "version", "author")
    rows = [
        (e.id, e.status, *map(_short, (e.subject, e.relation or "", e.target_new)), e.version, e.author) for e in shown
    ]
    stdout().print(table(columns, rows))


def batches(
    *, limit: LimitOption = 20, url: UrlOption = None, api_key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """List batches, newest first."""
    with open_client(url, api_key) as client:
        shown = list(islice(client.batches(), limit))
    if as_json:
        print_json(shown)
        return
    rows = [(b.id, b.status, b.created, b.version, b.error) for b in shown]
    stdout().print(table(("batch", "status", "created", "version", "error"), rows))


def versions(
    *,
    limit: LimitOption = 50,
    retention: Annotated[
        bool,
        typer.Option("--retention", help="Show which versions the next commit removes, and why it keeps the others."),
    ] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the versions of the weights."""
    with open_client(url, api_key) as client:
        if retention:
            show_retention(client, as_json=as_json)
            return
        shown = list(islice(client.versions(), limit))
    if as_json:
        print_json(shown)
        return
    rows = [(v.id, _state_of(v), v.parent, v.created, v.edits, (v.digest or "")[:19]) for v in shown]
    stdout().print(table(("version", "status", "parent", "created", "edits", "digest"), rows))


def _state_of(version: Version) -> str:
    state = "removed" if version.removed else version.status
    return f"{state}, pinned" if version.pinned else state


def promote(
    version: Annotated[str, typer.Argument(help="Version to make live, as v12; v0 is the untouched model.")],
    *,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make VERSION live at once. Promoting an older version is a rollback."""
    with open_client(url, api_key) as client:
        done = client.promote(version)
    if as_json:
        print_json(done)
        return
    stdout().print(f"version {version} is live")
    if done.behind:
        stderr().print(f"these replicas still answer with an older version: {', '.join(done.behind)}")
    for words, ids in (("rolled back", done.rolled_back), ("restored", done.restored)):
        if ids:
            more = f" and {len(ids) - _NUM_IDS_SHOWN} more" if len(ids) > _NUM_IDS_SHOWN else ""
            stdout().print(f"{words}: {len(ids)} edits: {', '.join(ids[:_NUM_IDS_SHOWN])}{more}")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def _export(found: list[EditRecord], file: Path) -> None:
    edits = [Edit.from_json(record.model_dump()) for record in found if record.purged is None]
    text = write_table(edits) if file.suffix.lower() == ".csv" else write_lines(edits)
    try:
        file.write_bytes(text.encode())
    except OSError as error:
        raise InvalidSettings(f"{file}: cannot be written: {error.strerror}") from None
    stderr().print(f"{len(edits)} edits written to {file}")
