"""``errata take-out``, ``diff`` and ``discard``: remove edits, compare versions, and discard candidates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from editing_core.errors import InvalidSettings
from service.cli.options import JsonOption, KeyOption, UrlOption, open_client
from service.cli.output import CommandFailed, print_json, stderr, stdout, table
from service.cli.waiting import wait_visibly
from service.client.client import Client
from service.client.schemas import EditRecord

_IN_THE_SET = ("live", "superseded")


def take_out(
    edits: Annotated[
        list[str] | None, typer.Argument(metavar="[EDIT]...", help="Ids of edits.", show_default=False)
    ] = None,
    *,
    batch: Annotated[str | None, typer.Option(help="Take out all edits of this batch that are in force.")] = None,
    subject: Annotated[
        str | None, typer.Option(help="Take out all edits about this subject, including superseded ones.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Take out all edits, which leaves the original model.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would happen, and change nothing.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the result, or only queue the batch.")
    ] = True,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take edits out. The new version has the weights that it would have if they had never been made.

    Superseded edits of the same facts apply again. Exit code 0: done (with --no-wait: queued). 1: the batch is
    rejected or failed.
    """
    if sum((bool(edits), batch is not None, subject is not None, everything)) != 1:
        raise InvalidSettings("give the ids of edits, or one of --batch, --subject, --all")
    with open_client(url, api_key) as client:
        ids = edits or [record.id for record in _in_the_set(client, batch=batch, subject=subject)]
        if not ids:
            raise CommandFailed("none of these edits is in force: `errata edits` lists their status")
        sent = client.submit_edits([], remove=ids, dry_run=dry_run)
        done = wait_visibly(client, sent.id, stderr()) if wait else sent
    if as_json:
        removed = [row.model_dump(mode="json") for row in sent.removed]  # only this answer says what each restores
        print_json({"batch": done.model_dump(mode="json"), "removed": removed})
    else:
        version = f", live in version {done.version}" if done.status == "applied" else ""
        stdout().print(f"batch {done.id}: {done.status}{version}")
        columns = ("edit", "subject", "object", "brings back")
        rows = [(row.id, row.subject, row.target_new, row.restores) for row in sent.removed]
        stdout().print(table(columns, rows))
    if wait and not done.succeeded:
        raise CommandFailed(f"batch {done.id} is {done.status}: {done.error or 'see its report'}")


def _in_the_set(client: Client, *, batch: str | None, subject: str | None) -> Iterator[EditRecord]:
    for status in _IN_THE_SET:
        yield from client.edits(batch=batch, subject=subject, status=status)


def discard(
    version: Annotated[str, typer.Argument(help="Candidate to discard, as v12.")],
    *,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Discard a candidate that waits to be promoted."""
    with open_client(url, api_key) as client:
        done = client.discard(version)
    if as_json:
        print_json(done)
    else:
        stdout().print(f"version {version} is discarded")


def diff(
    a: Annotated[str, typer.Argument(help="Version, as v11.")],
    b: Annotated[str, typer.Argument(help="Version to compare it with, as v12.")],
    *,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Show how both versions continue this prompt; repeatable.")
    ] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the edits that differ between versions A and B."""
    with open_client(url, api_key) as client:
        found = client.difference(a, b, prompts=prompt or ())
    if as_json:
        print_json(found)
        return
    rows = [("added", row["id"], row["subject"], row["relation"], row["target_new"]) for row in found.added]
    rows += [
        ("superseded", new["id"], new["subject"], new["relation"], f"{old['target_new']} -> {new['target_new']}")
        for old, new in ((pair["old"], pair["new"]) for pair in found.superseded)
    ]
    rows += [("reverted", row["id"], row["subject"], row["relation"], row["target_new"]) for row in found.reverted]
    same = "the same weights" if found.same_weights else "other weights"
    stdout().print(f"{a} to {b}: {same}, {len(rows)} edits differ")
    if rows:
        stdout().print(table(("change", "edit", "subject", "relation", "object"), rows))
    if found.answers:
        stdout().print(table(("prompt", a, b), [(row["prompt"], row["a"], row["b"]) for row in found.answers]))
