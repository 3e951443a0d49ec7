"""Makes a model's artefacts from a corpus: streaming, resumable, bounded in memory, keyed by all relevant inputs.

Knows no command line (``editing_core.covariance.command``) and no edits.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing_core.asking.perplexity import perplexity
from editing_core.asking.probes import build_probes
from editing_core.covariance.artefacts import (
    ArtefactKey,
    ModelArtefacts,
    read_artefacts,
    torch_dtype_name,
    write_artefacts,
)
from editing_core.covariance.collecting import BATCH_TOKENS, SAVE_EVERY_SECONDS, Pass, collect
from editing_core.covariance.corpus import Corpus, token_windows
from editing_core.covariance.published import find_published, published_digest, read_published
from editing_core.covariance.statistics import Covariances, key_width
from editing_core.durable import locked
from editing_core.errors import InvalidSettings
from editing_core.memit.contexts import draw_contexts
from editing_core.models.load import LoadedModel

WINDOW_TOKENS = 512
LEAST_TOKENS = 120_000
"""Minimum of the default number of tokens, 10 · d_ff. If d_ff is small, reading them takes seconds."""
PROBE_TOKENS = 32
NUM_PROBES = 200
MOST_HELDOUT_TOKENS = 20_000
_PARTIAL = "partial"

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the number of tokens done, and the total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """Choices of a preparation."""

    layers: tuple[int, ...]
    num_tokens: int | None = None
    """Tokens for the covariances, at most those of the corpus; None: 10 · d_ff, at least 120,000."""
    context_seed: int = 0
    statistics: Path | None = None
    """Folder of published second moments to read instead of the text; ``num_tokens`` then has no effect."""
    batch_tokens: int = BATCH_TOKENS
    """Tokens that go through the model at once. Changes no result beyond rounding."""
    save_every_seconds: float = SAVE_EVERY_SECONDS
    """Shortest pause between two checkpoints of the pass over the text."""


def prepare(
    loaded: LoadedModel,
    corpus: Corpus,
    options: PrepareOptions,
    *,
    root: Path,
    on_progress: Progress = lambda what, done, total: None,
) -> ModelArtefacts:
    """Return the artefacts for these inputs: read them from ``root``, or compute and write them there."""
    key = artefact_key(loaded, corpus, options)
    folder = root / key.folder_name()
    ready = read_artefacts(folder)
    if ready is not None:
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):  # one process computes them, the others wait and read
        ready = read_artefacts(folder)
        return ready or _make(loaded, corpus, options, key=key, folder=folder, on_progress=on_progress)


def _make(
    loaded: LoadedModel,
    corpus: Corpus,
    options: PrepareOptions,
    *,
    key: ArtefactKey,
    folder: Path,
    on_progress: Progress,
) -> ModelArtefacts:
    heldout = heldout_ids(loaded, corpus)  # first: too little text is reported before the long pass
    if options.statistics is None:
        covariances = _from_text(loaded, corpus, options, key=key, folder=folder / _PARTIAL, on_progress=on_progress)
    else:
        covariances = _from_published(loaded, options.statistics, key, on_progress=on_progress)
    on_progress("contexts and probes", 0, 1)
    artefacts = ModelArtefacts(
        contexts=draw_contexts(loaded, seed=options.context_seed),
        covariances=covariances.means,
        probes=build_probes(loaded.model, _cut(heldout, PROBE_TOKENS), num_prompts=NUM_PROBES, max_tokens=PROBE_TOKENS),
        heldout_ids=tuple(heldout),
        heldout_perplexity=perplexity(loaded.model, heldout),
        num_tokens=covariances.num_tokens,
        change_since_half=covariances.change_since_half,
    )
    write_artefacts(folder, artefacts, key)
    shutil.rmtree(folder / _PARTIAL, ignore_errors=True)
    on_progress("contexts and probes", 1, 1)
    return artefacts


def artefact_key(loaded: LoadedModel, corpus: Corpus, options: PrepareOptions) -> ArtefactKey:
    """Return the key under which the artefacts of these inputs are stored."""
    statistics = None
    if options.statistics is not None:
        statistics = published_digest(find_published(options.statistics, loaded, options.layers))
    return ArtefactKey(
        model=loaded.fingerprint,
        corpus=corpus.digest(),
        layers=options.layers,
        num_tokens=asked_tokens(loaded, options),
        window=min(WINDOW_TOKENS, loaded.max_positions),
        context_seed=options.context_seed,
        dtype=torch_dtype_name(loaded.dtype),
        statistics=statistics,
    )


def asked_tokens(loaded: LoadedModel, options: PrepareOptions) -> int | None:
    """Return the number of tokens for the covariances, or None if they come from published statistics."""
    if options.statistics is not None:
        return None
    return options.num_tokens or max(LEAST_TOKENS, 10 * key_width(loaded, options.layers[0]))


def _from_text(
    loaded: LoadedModel,
    corpus: Corpus,
    options: PrepareOptions,
    *,
    key: ArtefactKey,
    folder: Path,
    on_progress: Progress,
) -> Covariances:
    total = key.num_tokens
    assert total is not None
    wanted = Pass(
        layers=key.layers,
        num_tokens=total,
        window=key.window,
        batch_tokens=options.batch_tokens,
        save_every_seconds=options.save_every_seconds,
    )
    moments = collect(
        loaded, corpus, wanted, folder=folder, on_tokens=lambda done: on_progress("covariances", done, total)
    )
    width = key_width(loaded, key.layers[0])
    if moments.num_tokens < width:
        raise InvalidSettings(
            f"the corpus gave {moments.num_tokens} tokens for covariances; this model needs at least {width}"
            f" (width of its MLP), {10 * width} are advised: give more text"
        )
    return moments.covariances()


def _from_published(loaded: LoadedModel, folder: Path, key: ArtefactKey, *, on_progress: Progress) -> Covariances:
    files = find_published(folder, loaded, key.layers)
    return read_published(files, loaded, on_layer=lambda done: on_progress("statistics", done, len(files)))


def heldout_ids(loaded: LoadedModel, corpus: Corpus) -> list[int]:
    """Return held-out tokens of the corpus for probes and perplexity. Raises InvalidSettings if it has too few."""
    ids: list[int] = []
    for window in token_windows(corpus.documents(heldout=True), loaded.tokenizer, num_tokens=PROBE_TOKENS):
        ids += window
        if len(ids) >= MOST_HELDOUT_TOKENS:
            break
    if len(ids) < 4 * PROBE_TOKENS:
        raise InvalidSettings(
            f"the part of the corpus that is held out for probes and perplexity has {len(ids)} tokens;"
            f" {4 * PROBE_TOKENS} are needed: give more text"
        )
    return ids


def _cut(ids: list[int], size: int) -> list[list[int]]:
    return [ids[i : i + size] for i in range(0, len(ids) - size + 1, size)]


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1%}".replace("%", " % (of the diagonals, in the worst layer)")


def describe(artefacts: ModelArtefacts) -> dict[str, Any]:
    """Return a short summary for people and manifests."""
    return {
        "contexts": list(artefacts.contexts),
        "tokens": artefacts.num_tokens,
        "change by the second half of the tokens": _share(artefacts.change_since_half),
        "probes": len(artefacts.probes.prompts),
        "heldout_tokens": len(artefacts.heldout_ids),
        "heldout_perplexity": artefacts.heldout_perplexity,
    }
