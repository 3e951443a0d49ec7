"""``errata audit``, ``pin``, ``unpin`` and ``purge``: read the audit log, keep versions, and erase edits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from editing_core.errors import InvalidSettings
from service.cli.options import JsonOption, KeyOption, UrlOption, open_client
from service.cli.output import CommandFailed, print_json, printable, stderr, stdout, table
from service.cli.waiting import wait_visibly
from service.client.client import Client
from service.client.schemas import AuditEntry
from worker.protocol.audit.chain import verify_chain
from worker.protocol.audit.signatures import signature_fault
from worker.protocol.settings import read_settings
from worker.protocol.signing import read_signing_key

FOLLOW_SECONDS = 1.0
PURGE_SECONDS = 0.5
_COLUMNS = ("number", "at", "what", "who", "details")

VersionArgument = Annotated[str, typer.Argument(help="Version, as v12.")]


def audit(
    *,
    edit: Annotated[str | None, typer.Option(help="Only entries about this edit or its batch.")] = None,
    batch: Annotated[str | None, typer.Option(help="Only entries about this batch.")] = None,
    version: Annotated[str | None, typer.Option(help="Only entries about this version.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of entries.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", help="Also print new entries as they appear, oldest first.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Check that no entry is missing or was changed.")] = False,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --verify: check this copy instead of asking the service.")
    ] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the audit log, newest entries first. With --follow and --json, each entry is one line.

    Exit code 1 with --verify: an entry is missing or was changed.
    """
    if file is not None:
        if not verify:
            raise InvalidSettings("--file names a copy to check: give --verify with it")
        _verify_file(file)
        return
    with open_client(url, api_key) as client:
        if verify:
            _verify(client, as_json=as_json)
            return
        found = list(islice(client.audit(edit=edit, batch=batch, version=version), limit))
        if not follow:
            _show(found, as_json=as_json)
            return
        for entry in _followed(client, found[::-1], edit=edit, batch=batch, version=version):
            _print_line(entry, as_json=as_json)


def pin(
    version: VersionArgument, *, url: UrlOption = None, api_key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Keep VERSION, no matter how old it becomes."""
    with open_client(url, api_key) as client:
        pinned = client.pin(version)
    print_json(pinned) if as_json else stdout().print(f"version {version} is pinned")


def unpin(
    version: VersionArgument, *, url: UrlOption = None, api_key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Remove the pin of VERSION, so that retention applies to it again."""
    with open_client(url, api_key) as client:
        unpinned = client.unpin(version)
    print_json(unpinned) if as_json else stdout().print(f"version {version} is not pinned")


def purge(
    edit: Annotated[str, typer.Argument(help="Id of the edit to erase.")],
    *,
    reason: Annotated[
        str | None,
        typer.Option(help="Reason for the audit log, which keeps it forever: name no person and no fact in it."),
    ] = None,
    take_out: Annotated[bool, typer.Option("--take-out", help="Take the edit out first if it is in force.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the worker has erased it.")] = True,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase the text of EDIT and the versions that contain it. Its id and hash remain. This cannot be undone.

    If the edit is in force, --take-out is required. You must erase it from backups and other copies yourself.
    """
    with open_client(url, api_key) as client:
        if take_out and client.edit(edit).status == "live":
            _take_out(client, edit)
        state = client.purge(edit, reason=reason)
        while wait and state.state != "done":
            time.sleep(PURGE_SECONDS)
            state = client.purge(edit)
    if as_json:
        print_json(state)
        return
    words = "is erased" if state.state == "done" else "will be erased by the worker"
    stdout().print(f"edit {edit} {words}; its id remains, and sha256:{state.hash}", soft_wrap=True)


def _take_out(client: Client, edit: str) -> None:
    done = wait_visibly(client, client.submit_edits([], remove=[edit]).id, stderr())
    if not done.succeeded:
        raise CommandFailed(f"edit {edit} was not taken out: batch {done.id} is {done.status}: {done.error}")


def _followed(client: Client, begin: list[AuditEntry], **wanted: str | None) -> Iterator[AuditEntry]:
    yield from begin
    last = begin[-1].number if begin else 0
    while True:
        time.sleep(FOLLOW_SECONDS)
        fresh: list[AuditEntry] = []
        for entry in client.audit(**wanted):
            if entry.number <= last:
                break
            fresh.append(entry)
        yield from fresh[::-1]
        last = fresh[0].number if fresh else last


def _show(found: list[AuditEntry], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [(e.number, e.at, e.what, e.who, _details(e.details)) for e in found]
    stdout().print(table(_COLUMNS, rows))


def _print_line(entry: AuditEntry, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(entry.model_dump(mode="json")), flush=True)
    else:
        words = f"{entry.number} {entry.at} {entry.what} {entry.who or '-'} {_details(entry.details)}"
        print(printable(words), flush=True)


def _details(details: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}" for name, value in details.items()
    )


def _verify(client: Client, *, as_json: bool) -> None:
    found = client.verify_audit()
    if as_json:
        print_json(found)
    if not found.whole:
        faults = [found.ledger["fault"], found.file and found.file["fault"], found.difference]
        raise CommandFailed(f"the audit is not whole: {'; '.join(str(fault) for fault in faults if fault)}")
    if not as_json:
        copy = f", {found.file['entries']} of them on disk" if found.file else ""
        stdout().print(f"the audit is whole: {found.ledger['entries']} entries{copy}", soft_wrap=True)


def _verify_file(file: Path) -> None:
    try:
        with file.open(encoding="utf-8") as lines:
            verdict = verify_chain(line.rstrip("\n") for line in lines)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{file}: cannot be read: {error}") from None
    if verdict.fault is not None:
        raise CommandFailed(f"{file} is not whole: {verdict.fault}")
    key = read_signing_key(read_settings().signing_key_file)
    if key is not None and (fault := signature_fault(file, key)):
        raise CommandFailed(f"{file} is refused: {fault}")
    stderr().print(f"the last entry's hash is {verdict.last_hash}", soft_wrap=True)
    signed = "" if key is None else " and signed by this key"
    stdout().print(f"{file} is whole{signed}: {verdict.num_entries} entries", soft_wrap=True)


def show_retention(client: Client, *, as_json: bool) -> None:
    """Print the versions that the next commit removes, and the reason for keeping each of the others."""
    found = client.retention()
    if as_json:
        print_json(found)
        return
    rows = [(row["version"], "stays" if row["kept"] else "goes", row["why"]) for row in found.versions]
    stdout().print(table(("version", "", "why"), rows))
