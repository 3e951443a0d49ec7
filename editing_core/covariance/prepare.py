"""Makes a model's artefacts from a corpus: streaming, resumable, bounded in memory, keyed by what changes the numbers.

Knows no command line (``editing_core.prepare``) and no edits.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from editing_core.covariance.artefacts import (
    ArtefactKey,
    ModelArtefacts,
    read_artefacts,
    torch_dtype_name,
    write_artefacts,
    write_tensors,
)
from editing_core.covariance.corpus import Corpus, token_windows
from editing_core.covariance.statistics import SecondMoments
from editing_core.errors import InvalidSettings
from editing_core.evaluation.perplexity import perplexity
from editing_core.evaluation.probes import build_probes
from editing_core.memit.contexts import draw_contexts
from editing_core.models.load import LoadedModel
from editing_core.versions.durable import locked

WINDOW_TOKENS = 512
BATCH_TOKENS = 4_096
LEAST_TOKENS = 200_000
"""Tokens asked for at least; more where 10 · d_ff is more."""
PROBE_TOKENS = 32
NUM_PROBES = 200
MOST_HELDOUT_TOKENS = 20_000
SAVE_EVERY_SECONDS = 20.0
"""What a preparation that is killed loses at most, beside the writing of one file."""
_PARTIAL = "partial"
_HALF_WAY = "half-way."

Progress = Callable[[str, int, int], None]
"""Called with what is being made, and how many tokens of how many are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """Choices of a preparation."""

    layers: tuple[int, ...]
    num_tokens: int | None = None
    """Tokens for the covariances; None: 10 · d_ff, at least 200,000; in any case no more than the corpus has."""
    context_seed: int = 0


def prepare(
    loaded: LoadedModel,
    corpus: Corpus,
    options: PrepareOptions,
    *,
    root: Path,
    on_progress: Progress = lambda what, done, total: None,
) -> ModelArtefacts:
    """The artefacts for these inputs: read if they are under ``root``, else made and written there."""
    key = artefact_key(loaded, corpus, options)
    folder = root / key.folder_name()
    ready = read_artefacts(folder)
    if ready is not None:
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):  # of several processes one makes them, the others wait and read
        return read_artefacts(folder) or _make(loaded, corpus, options, folder=folder, on_progress=on_progress)


def _make(
    loaded: LoadedModel, corpus: Corpus, options: PrepareOptions, *, folder: Path, on_progress: Progress
) -> ModelArtefacts:
    key = artefact_key(loaded, corpus, options)
    moments = _second_moments(loaded, corpus, key, folder=folder, on_progress=on_progress)
    _require_enough(moments, key)
    on_progress("contexts and probes", 0, 1)
    heldout = heldout_ids(loaded, corpus)
    artefacts = ModelArtefacts(
        contexts=draw_contexts(loaded, seed=options.context_seed),
        covariances=moments.means(),
        probes=build_probes(loaded.model, _cut(heldout, PROBE_TOKENS), num_prompts=NUM_PROBES, max_tokens=PROBE_TOKENS),
        heldout_ids=tuple(heldout),
        heldout_perplexity=perplexity(loaded.model, heldout),
        num_tokens=moments.num_tokens,
        change_since_half=max(moments.changes_since_half_way().values(), default=None),
    )
    write_artefacts(folder, artefacts, key)
    shutil.rmtree(folder / _PARTIAL, ignore_errors=True)
    on_progress("contexts and probes", 1, 1)
    return artefacts


def artefact_key(loaded: LoadedModel, corpus: Corpus, options: PrepareOptions) -> ArtefactKey:
    """What the artefacts of these inputs are filed under."""
    width = loaded.family.projection_weight(loaded.model, options.layers[0]).numel() // loaded.hidden_size
    return ArtefactKey(
        model=loaded.fingerprint,
        corpus=corpus.digest(),
        layers=options.layers,
        num_tokens=options.num_tokens or max(LEAST_TOKENS, 10 * width),
        window=min(WINDOW_TOKENS, loaded.max_positions),
        context_seed=options.context_seed,
        dtype=torch_dtype_name(loaded.dtype),
    )


def _second_moments(
    loaded: LoadedModel, corpus: Corpus, key: ArtefactKey, *, folder: Path, on_progress: Progress
) -> SecondMoments:
    moments, num_windows = _resume(loaded, folder / _PARTIAL, key)
    windows = token_windows(corpus.lines(heldout=False), loaded.tokenizer, num_tokens=key.window)
    wanted = key.num_tokens // key.window + 1
    remaining = islice(windows, num_windows, wanted)
    saved = time.monotonic()
    for batch in _batched(remaining, max(1, BATCH_TOKENS // key.window)):
        moments.add(loaded, batch)
        num_windows += len(batch)
        if not moments.half_way and moments.num_tokens >= key.num_tokens / 2:
            moments.mark_half_way()
        if time.monotonic() - saved >= SAVE_EVERY_SECONDS:
            _save(folder / _PARTIAL, moments, num_windows)
            saved = time.monotonic()
        on_progress("covariances", moments.num_tokens, key.num_tokens)
    return moments


def _batched(windows: Iterator[list[int]], size: int) -> Iterator[list[list[int]]]:
    while batch := list(islice(windows, size)):
        yield batch


def _save(folder: Path, moments: SecondMoments, num_windows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {str(layer): total for layer, total in moments.sums.items()}
    tensors |= {f"{_HALF_WAY}{layer}": diagonal for layer, diagonal in moments.half_way.items()}
    tensors["state"] = torch.tensor([num_windows, moments.num_tokens])
    write_tensors(folder / "sums.safetensors", tensors)


def _resume(loaded: LoadedModel, folder: Path, key: ArtefactKey) -> tuple[SecondMoments, int]:
    file = folder / "sums.safetensors"
    if not file.is_file():
        return SecondMoments.empty(loaded, key.layers), 0
    tensors = load_file(file)
    num_windows, num_tokens = (int(x) for x in tensors.pop("state"))
    half_way = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_HALF_WAY)}
    return (
        SecondMoments(
            {int(layer): total for layer, total in tensors.items()},
            num_tokens,
            {int(name.removeprefix(_HALF_WAY)): diagonal for name, diagonal in half_way.items()},
        ),
        num_windows,
    )


def _require_enough(moments: SecondMoments, key: ArtefactKey) -> None:
    width = len(moments.sums[key.layers[0]])
    if moments.num_tokens < width:
        raise InvalidSettings(
            f"the corpus gave {moments.num_tokens} tokens for covariances; this model needs at least {width}"
            f" (width of its MLP), {10 * width} are advised: add text with --corpus"
        )


def heldout_ids(loaded: LoadedModel, corpus: Corpus) -> list[int]:
    """Tokens of the corpus's held-out part, for probes and perplexity; InvalidSettings where they are too few."""
    ids: list[int] = []
    for window in token_windows(corpus.lines(heldout=True), loaded.tokenizer, num_tokens=PROBE_TOKENS):
        ids += window
        if len(ids) >= MOST_HELDOUT_TOKENS:
            break
    if len(ids) < 4 * PROBE_TOKENS:
        raise InvalidSettings(
            f"the part of the corpus that is held out for probes and perplexity has {len(ids)} tokens;"
            f" {4 * PROBE_TOKENS} are needed: add text with --corpus"
        )
    return ids


def _cut(ids: list[int], size: int) -> list[list[int]]:
    return [ids[i : i + size] for i in range(0, len(ids) - size + 1, size)]


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1%}".replace("%", " % (of the diagonals, in the worst layer)")


def describe(artefacts: ModelArtefacts) -> dict[str, Any]:
    """A short account for people and manifests."""
    return {
        "contexts": list(artefacts.contexts),
        "tokens": artefacts.num_tokens,
        "change by the second half of the tokens": _share(artefacts.change_since_half),
        "probes": len(artefacts.probes.prompts),
        "heldout_tokens": len(artefacts.heldout_ids),
        "heldout_perplexity": artefacts.heldout_perplexity,
    }
