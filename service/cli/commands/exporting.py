"""``errata export`` and ``errata exports``: write a version as a checkpoint or as an adapter.

With --out, this process writes the export from the store's files. Without --out, a worker writes it into its data
folder.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from editing_core.errors import InvalidSettings
from service.cli.commands.looking import LimitOption
from service.cli.commands.starting import run_export
from service.cli.options import DataOption, DeviceOption, JsonOption, KeyOption, UrlOption, open_client
from service.cli.output import CommandFailed, print_json, stderr, stdout, table
from service.client.schemas import Export

_OFFLINE = "With --out"
BaseOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="ERRATA_MODEL",
        help="Base model, as a folder or Hugging Face id. Default: the source that the store recorded.",
        rich_help_panel=_OFFLINE,
    ),
]


class Form(StrEnum):
    """Formats of an export."""

    HF = "hf"
    PEFT = "peft"


class Dtype(StrEnum):
    """Dtypes of a checkpoint."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def export(
    version: Annotated[str, typer.Argument(help="Version to export, as v12; v0 is the untouched model.")],
    *,
    form: Annotated[
        Form,
        typer.Option("--format", help="hf: a full Hugging Face checkpoint. peft: only the change, as a LoRA adapter."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the export to this folder, from the files in the data folder. Without it, the service writes "
            "the export.",
        ),
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Dtype of a checkpoint. Default: float32, which loses nothing.")
    ] = None,
    max_rank: Annotated[
        int | None, typer.Option(min=1, help="Largest rank of an adapter. Default: the rank of the change.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the export is written, or only request it.")
    ] = True,
    data: DataOption = None,
    model: BaseOption = None,
    device: DeviceOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write VERSION as a Hugging Face checkpoint or a PEFT adapter, with a model card; prints the folder.

    Exit code 1: the service could not write it.
    """
    options = {"dtype": dtype and dtype.value, "max_rank": max_rank}
    if out is not None:
        if as_json:
            raise InvalidSettings(
                "--json prints an answer of the service: leave it out with --out, and read errata.json in the folder"
            )
        given = {"format": form.value, "out": out, **options, "data": data, "model": model, "device": device}
        run_export(version, given)
    with open_client(url, api_key) as client:
        asked = client.export(version, form.value, **options)
        if wait:
            asked = client.wait_for_export(asked.id, on_progress=_Phases(stderr()).show)
    if asked.status == "failed":
        raise CommandFailed(f"export {asked.id} failed: {asked.error}")
    if as_json:
        print_json(asked)
    else:
        stdout().print(asked.path if asked.status == "done" else f"export {asked.id}: {asked.status}", soft_wrap=True)


class _Phases:
    """Prints a line whenever the status or the phase changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen = ""

    def show(self, export: Export) -> None:
        now = f"{export.status}, {export.progress.phase}" if export.progress else export.status
        if now != self._seen:
            self._seen = now
            self._console.print(f"export {export.id}: {now}")


def exports(
    *, limit: LimitOption = 50, url: UrlOption = None, api_key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """List the exports of the service, with pending ones."""
    with open_client(url, api_key) as client:
        shown = list(islice(client.exports(), limit))
    if as_json:
        print_json(shown)
        return
    rows = [(e.id, e.status, e.version, _size(e.result), e.path, e.error) for e in shown]
    stdout().print(table(("export", "status", "version", "GB", "folder", "error"), rows))


def _size(result: dict[str, Any] | None) -> float | None:
    return result["size_bytes"] / 1e9 if result and "size_bytes" in result else None
