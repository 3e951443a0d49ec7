"""``python -m editing_core.export VERSION --format FORMAT --out FOLDER``: exports from a store's files.

Prints a progress bar and a summary. Needs no running service. Only ``errata export`` reads the environment; this
program does not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from editing_core.command_line import add_options, positive, progress_bar, run_program
from editing_core.errors import InvalidSettings
from editing_core.export.card import Record
from editing_core.export.request import ExportDtype, ExportRequest, Format
from editing_core.export.version import Exporter
from editing_core.models.load import load_model
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore

MEGA = 10**6


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0 if the folder is written, 2 if the version cannot be exported."""
    options = _parser().parse_args(arguments)

    def program(console: Console) -> int:
        record = _export(options, console)
        for line in account(record):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        print(options.out)  # noqa: T201 - the result, for scripts
        return 0

    return run_program("export", program)


def _export(options: argparse.Namespace, console: Console) -> Record:
    layout = StoreLayout(options.data)
    if not layout.store_file.exists():
        raise InvalidSettings(f"there is no version store in {options.data}: name its folder by --data")
    request = ExportRequest(
        version=options.version, format=options.format, dtype=options.dtype, max_rank=options.max_rank
    )
    store = VersionStore(layout)
    exporter = Exporter(
        store=store,
        model=options.model or _bound_model(layout),
        served=lambda: load_model(exporter.model, device=options.device, dtype=served_dtype(store, request.version)),
        device=options.device,
    )
    with progress_bar(console) as on_progress:

        def on_phase(phase: str, done: int, total: int) -> None:
            unit = MEGA if phase == "writing" else 1
            on_progress(phase, done // unit, max(1, total // unit))

        return exporter.export(request, options.out.absolute(), on_phase=on_phase)


def _bound_model(layout: StoreLayout) -> str:
    model = open_identity(layout.root).model
    if model is None:
        raise InvalidSettings(f"the store {layout.root} belongs to no model yet: name one by --model")
    return model.source


def served_dtype(store: VersionStore, version: str) -> str | None:
    """Return the dtype in which the version was solved and checked; None: the default of this machine."""
    dtype = store.read_manifest(version).settings.get("dtype")
    return str(dtype) if dtype is not None else None


def account(record: Record) -> list[str]:
    """Return the lines of a short summary of the export."""
    lines = [f"{record['version']} as {record['export']}: {record['num_edits']} edits, {record['size_bytes']:,} bytes"]
    if "rank" in record:
        needed = max(found["needed_rank"] for found in record["matrices"].values())
        comparison = "as much as" if record["rank"] >= needed else "less than"
        lines.append(f"rank {record['rank']}, {comparison} the change needs")
    if not record["is_exact"] and record["matrices"]:
        worst = max(found["lost"] for found in record["matrices"].values())
        lines.append(f"lost of the change of a matrix: {worst:.2g} at most")
    if recheck := record["recheck"]:
        lines.append(f"edits that take: {recheck['exported']} of {recheck['total']}, {recheck['served']} as served")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="errata export",
        description="Write a version as a Hugging Face checkpoint (hf) or as a PEFT LoRA adapter (peft), from the "
        "store's files alone.",
    )
    add = parser.add_argument
    add("version", help="the version, as v12; v0 is the untouched model")
    add("--format", required=True, choices=get_args(Format))
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder to write; it must be empty or not exist")
    add("--dtype", choices=get_args(ExportDtype), help="dtype of a checkpoint (default: float32, which loses nothing)")
    add("--max-rank", type=positive, help="largest rank of an adapter (default: the rank of the change)")
    add("--data", type=Path, default=Path("var"), help="folder of the store (default: var)")
    add("--model", help="base model, as a folder or Hugging Face id (default: the source that the store recorded)")
    add_options(parser, "device")
    return parser


if __name__ == "__main__":
    sys.exit(main())
