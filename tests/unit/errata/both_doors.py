"""Uses the editing package and the HTTP client as a typed program would; mypy checks it, nothing runs it."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from errata import Check, CheckLimits, Edit, EditedModel, Editor, Neighbor, open_editor
from errata.client import AsyncClient, Batch, Client


def edit_here(cache: Path) -> Path:
    editor: Editor = open_editor("demo-gptj", cache=cache, progress=False)
    wanted = Edit("Hamlet", "{} was written by", "Dickens", neighborhood=(Neighbor("Macbeth was written by"),))
    edited: EditedModel = editor.edit([wanted])
    text: str = edited.generate("The author of Hamlet is")
    check: Check = edited.check(CheckLimits(max_drift=0.1))
    assert check.passed, text
    module: nn.Module = edited.model
    targets: dict[Edit, Tensor] = editor.targets([wanted])
    keys: dict[int, Tensor] = editor.keys(targets)
    assert keys
    assert module is not editor.solve(targets).model
    return edited.save("corrected")


def read_version(batch: Batch) -> str | None:
    return batch.version


def edit_there(client: Client) -> Batch:
    return client.batch("b1")


async def edit_there_async(client: AsyncClient) -> Batch:
    return await client.batch("b1")
