"""``errata edit``: sends edits, waits for the batch, and shows whether each edit succeeded."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from editing_core.edits import Edit, validate_edit
from editing_core.errors import InvalidEdit, InvalidSettings
from editing_core.formats.own import as_input
from editing_core.formats.reading import FORMATS, EditFile, read_edit_file
from service.cli.options import JsonOption, KeyOption, UrlOption, open_client
from service.cli.output import CommandFailed, print_json, stderr, stdout, table
from service.cli.waiting import wait_visibly
from service.client.client import Client
from service.client.schemas import Batch, EditRecord

_NUM_SHOWN = 50
"""Rows of the result table. Each row costs a request."""
_WHERE = {"applied": ", live in version {}", "candidate": ", version {} waits: `errata promote` makes it live"}
_INLINE = "One edit without a file"


class OnFailure(StrEnum):
    """Actions of the service if the checks of a batch fail."""

    REJECT = "reject"
    DROP = "drop"


def edit(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="JSON (a list, or the body of POST /edits), JSONL, CSV with a header line, or records of CounterFact, "
            "zsRE or EasyEdit.",
            show_default=False,
        ),
    ] = None,
    *,
    form: Annotated[
        str | None,
        typer.Option("--format", help=f"Format of FILE, if it is not recognised: {', '.join(FORMATS)}."),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="The entity that the fact is about.", rich_help_panel=_INLINE)
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Template with one {} for the subject.", rich_help_panel=_INLINE)
    ] = None,
    target_new: Annotated[
        str | None,
        typer.Option(
            help="New object: the text that the model should continue the prompt with.", rich_help_panel=_INLINE
        ),
    ] = None,
    target_true: Annotated[
        str | None, typer.Option(help="Old object, for the report.", rich_help_panel=_INLINE)
    ] = None,
    paraphrase: Annotated[
        list[str] | None, typer.Option(help="Another wording, for the report; repeatable.", rich_help_panel=_INLINE)
    ] = None,
    on_failure: Annotated[
        OnFailure | None,
        typer.Option(
            help="If the checks fail: reject the batch and name the edits that break them, or drop these edits. "
            "Default: reject."
        ),
    ] = None,
    manual: Annotated[
        bool, typer.Option("--manual", help="Make a candidate, which goes live with `errata promote`.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would happen, and change nothing.")] = False,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="EDIT", help="Take this edit out in the same version; repeatable.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the result, or only queue the batch.")
    ] = True,
    idempotency_key: Annotated[
        str | None, typer.Option(help="A repeated request with the same key and edits returns the first batch.")
    ] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a batch of edits, wait until it is live or rejected, and show each edit's result.

    Exit code 0: the batch is applied, a candidate, or reported (with --no-wait: queued). 1: it is rejected or failed.
    """
    inline = {"subject": subject, "prompt": prompt, "target_new": target_new, "target_true": target_true}
    wanted = _one_source(file, form, inline | {"paraphrases": paraphrase})
    asked = {"promote": "manual" if manual else None, "dry_run": dry_run or None, "remove": remove}
    asked |= {"on_failure": on_failure.value if on_failure else None}
    options = wanted.options | {name: value for name, value in asked.items() if value is not None}
    if options.get("dry_run") and options.get("promote") == "manual":
        raise InvalidSettings("a dry run makes no candidate: give --dry-run or --manual (in a body: promote)")
    with open_client(url, api_key) as client:
        batch = client.submit_edits(wanted.edits, idempotency_key=idempotency_key, **options)
        for warning in batch.warnings:
            stderr().print(f"{'.'.join(map(str, warning.get('loc', ())))}: {warning.get('msg', '')}")
        if wait:
            batch = wait_visibly(client, batch.id, stderr())
        _show(client, batch, as_json=as_json, waited=wait)
    if wait and not batch.succeeded:
        raise CommandFailed(f"batch {batch.id} is {batch.status}: {batch.error or 'see its report'}")


def _one_source(file: Path | None, form: str | None, inline: dict[str, Any]) -> EditFile:
    given = {name: value for name, value in inline.items() if value is not None}
    if (file is None) == (not given):
        raise InvalidSettings("give either FILE, or one edit by --subject, --prompt and --target-new")
    if file is not None:
        return read_edit_file(file, form=form)
    for name in ("subject", "prompt", "target_new"):
        if name not in given:
            raise InvalidSettings(f"--{name.replace('_', '-')} is missing")
    made = Edit.from_json(given)
    try:
        validate_edit(made)
    except InvalidEdit as error:
        raise InvalidSettings(error.detail) from None
    return EditFile((as_input(made),))


def _show(client: Client, batch: Batch, *, as_json: bool, waited: bool) -> None:
    found = list(client.edits(batch=batch.id)) if waited else []
    if as_json:
        print_json({"batch": batch.model_dump(mode="json"), "edits": [e.model_dump(mode="json") for e in found]})
        return
    version = _WHERE.get(batch.status, "").format(batch.version)
    stdout().print(f"batch {batch.id}: {batch.status}{version}")
    if batch.status == "reported":
        stdout().print(f"it would be rejected: {batch.error}" if batch.error else "it would be applied")
    for line in _dropped(batch):
        stderr().print(line)
    if not found:
        return
    found.sort(key=lambda record: record.holds is not False)  # failed edits come first
    shown = [client.edit(record.id) for record in found[:_NUM_SHOWN]]
    columns = ("edit", "subject", "new object", "holds", "probability")
    stdout().print(table(columns, (_row(record, is_dry_run=batch.status == "reported") for record in shown)))
    if len(found) > len(shown):
        stdout().print(f"and {len(found) - len(shown)} more: errata edits --batch {batch.id}")


def _dropped(batch: Batch) -> list[str]:
    report = batch.report or {}
    dropped = set(report.get("dropped", ()))
    rows = [row for row in report.get("culprits", ()) if row.get("id") in dropped]
    return [f"dropped {row['id']} ({row['subject']} -> {row['target_new']}): {row['why']}" for row in rows]


def _row(record: EditRecord, *, is_dry_run: bool) -> tuple[object, ...]:
    report = record.report or {}
    before, after = (_probability(report.get(when)) for when in ("before", "after"))
    change = f"{before} -> {after}" if before or after else ""
    return (record.id, record.subject, record.target_new, _holds(record, is_dry_run=is_dry_run), change)


def _holds(record: EditRecord, *, is_dry_run: bool) -> Text:
    if same := (record.report or {}).get("same_as"):
        return Text(f"same as {same}")
    if record.holds is None or (record.status == "dropped" and not is_dry_run):
        return Text(record.status)
    return Text("yes", style="green") if record.holds else Text("no", style="red")


def _probability(side: object) -> str:
    value = side.get("probability") if isinstance(side, dict) else None
    return f"{value:.3g}" if isinstance(value, float | int) else ""
