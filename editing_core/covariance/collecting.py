"""Second moments of a model's keys over a corpus, in one pass that can resume if the process is killed.

A checkpoint holds the sums and the position in the text, so no document is counted twice or skipped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file

from editing_core.covariance.artefacts import write_tensors
from editing_core.covariance.corpus import Corpus, WindowReader
from editing_core.covariance.statistics import SecondMoments
from editing_core.models.load import LoadedModel

BATCH_TOKENS = 4_096
SAVE_EVERY_SECONDS = 20.0
"""The most work that a killed preparation loses, unless saving is slow."""
SAVE_SHARE = 0.1
"""The largest share of the time spent on saving: the sums of a large model are gigabytes."""
_SUMS, _HALF_WAY, _PLACE, _WAITING = "sum.", "half-way.", "place", "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """The scope of one pass."""

    layers: tuple[int, ...]
    num_tokens: int
    """Requested number of tokens; fewer if the corpus has fewer."""
    window: int
    """Tokens in one window."""
    batch_tokens: int = BATCH_TOKENS
    """Tokens that go through the model at once."""
    save_every_seconds: float = SAVE_EVERY_SECONDS
    """Shortest pause between two checkpoints."""
    save_share: float = SAVE_SHARE


def collect(
    loaded: LoadedModel, corpus: Corpus, wanted: Pass, *, folder: Path, on_tokens: Callable[[int], None]
) -> SecondMoments:
    """Read the corpus, starting at the place where an earlier pass with the same ``folder`` stopped."""
    moments, reader = _resume(loaded, wanted, folder)
    windows = reader.read(corpus.documents(heldout=False))
    remaining = islice(windows, wanted.num_tokens // wanted.window + 1 - moments.num_tokens // wanted.window)
    pause, saved = wanted.save_every_seconds, time.monotonic()
    for batch in _batched(remaining, max(1, wanted.batch_tokens // wanted.window)):
        moments.add(loaded, batch)
        if not moments.half_way and moments.num_tokens >= wanted.num_tokens / 2:
            moments.mark_half_way()
        if (began := time.monotonic()) - saved >= pause:
            _save(folder, moments, reader)
            saved = time.monotonic()
            pause = max(wanted.save_every_seconds, (saved - began) / wanted.save_share)
        on_tokens(moments.num_tokens)
    _save(folder, moments, reader)
    return moments


def _batched(windows: Iterator[list[int]], size: int) -> Iterator[list[list[int]]]:
    while batch := list(islice(windows, size)):
        yield batch


def _save(folder: Path, moments: SecondMoments, reader: WindowReader) -> None:
    tensors = {f"{_SUMS}{layer}": total for layer, total in moments.sums.items()}
    tensors |= {f"{_HALF_WAY}{layer}": diagonal for layer, diagonal in moments.half_way.items()}
    tensors[_PLACE] = torch.tensor([moments.num_tokens, reader.num_documents])
    tensors[_WAITING] = torch.tensor(list(reader.waiting), dtype=torch.int64)
    write_tensors(_file(folder), tensors)


def _resume(loaded: LoadedModel, wanted: Pass, folder: Path) -> tuple[SecondMoments, WindowReader]:
    for rest in folder.glob(f".{_file(folder).name}.*"):
        rest.unlink()  # a partial file that a killed process left
    reader = WindowReader(tokenizer=loaded.tokenizer, num_tokens=wanted.window)
    if not _file(folder).is_file():
        return SecondMoments.empty(loaded, wanted.layers), reader
    tensors = load_file(_file(folder))
    num_tokens, reader.num_documents = (int(number) for number in tensors.pop(_PLACE))
    reader.waiting = deque(tensors.pop(_WAITING).tolist())
    sums, half_way = (
        {int(name.removeprefix(prefix)): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for prefix in (_SUMS, _HALF_WAY)
    )
    return SecondMoments(sums, num_tokens, half_way).placed(loaded), reader


def _file(folder: Path) -> Path:
    return folder / "pass.safetensors"
