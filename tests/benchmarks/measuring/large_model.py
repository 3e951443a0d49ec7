"""The stages of a batch on a large random model, from the second moments to the promoted version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from torch import Tensor

from editing_core.asking.continuations import continue_greedily
from editing_core.asking.perplexity import perplexity
from editing_core.asking.probes import build_probes
from editing_core.edits import canonical
from editing_core.memit.config import MemitConfig, preset
from editing_core.memit.update import Update
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.benchmarks.arithmetic import NOTHING, ModelShape, Work, prepare_work, solve_work, view_work
from tests.benchmarks.measuring.meter import Meter, Reading
from tests.benchmarks.measuring.random_edits import RandomEdits, RowShape
from tests.benchmarks.measuring.random_versions import write_version
from tests.benchmarks.measuring.stages import WINDOW_TOKENS, Stages, feed_moments

NUM_STEPS = 25
TOKENS_PER_WIDTH = 1.25
"""Tokens of the preparation as a multiple of d_ff; 10 are advised, and a bit more than 1 gives a full rank."""
RIDGE = 1e-3
"""Share of the mean diagonal that is added to it, since so few tokens leave it ill-conditioned."""
NUM_PROBES, NUM_HELDOUT = 200, 20_000
VERSION = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How many edits go through which stage."""

    num_searches: int
    num_updated: int
    num_checked: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One stage."""

    name: str
    work: Work
    """What is needed."""
    laid_out: Work
    """What is run, padding included."""
    seconds: float
    grown_bytes: int


class LargeModel:
    """One random model with edits drawn for it."""

    def __init__(self, loaded: LoadedModel, choice: Choice, meter: Meter) -> None:
        self.shape = ModelShape.of(loaded)
        self.config = _config(loaded)
        self._loaded, self._choice, self._meter = loaded, choice, meter
        self._words = RandomEdits(loaded.vocabulary_size, RowShape())
        self._edits = canonical(self._words.draw(choice.num_updated))

    def stages(self, folder: Path) -> Iterator[Measured]:
        """Run them one after the other; ``folder`` takes the version's files."""
        yield self._prepare()
        stages = self._asked_model()
        stages.rows(self._edits)  # tokenised before: it is no part of a stage
        searched = self._edits[: self._choice.num_searches]
        stages.search(searched[: max(1, len(searched) // 20)])  # what only the first call costs
        reading = Reading()
        with self._meter.piece(reading):
            found = stages.search(searched)
        needed, laid_out = stages.search_work(searched, is_needed=True), stages.search_work(searched)
        yield _measured("z", reading, needed, laid_out)
        # z of edits that were not searched do as well for what follows: what it costs does not depend on them.
        targets = found.repeat(ceil(len(self._edits) / len(found)), 1)[: len(self._edits)]
        stages.solve(self._edits[:32], targets[:32], self._meter)
        update, solving = stages.solve(self._edits, targets, self._meter)
        needed, laid_out = stages.sweep_work(self._edits, is_needed=True), stages.sweep_work(self._edits)
        yield _measured("keys", solving.keys, needed, laid_out)
        work = solve_work(self.shape, num_edits=len(self._edits), num_layers=len(self.config.layers))
        yield _measured("solve", solving.solve, work)
        yield self._check(stages, update)
        yield from self._promote(update, VersionStore(StoreLayout(folder)))

    def _prepare(self) -> Measured:
        reading, layers = Reading(), self.config.layers
        feed_moments(self._loaded, layers[:1], num_tokens=1)
        with self._meter.piece(reading):
            moments = feed_moments(self._loaded, layers, num_tokens=int(TOKENS_PER_WIDTH * self.shape.width))
        means = moments.covariances().means
        self._covariances = {layer: _full_rank(mean) for layer, mean in means.items()}
        window = min(WINDOW_TOKENS, self._loaded.max_positions)
        work = prepare_work(self.shape, num_tokens=moments.num_tokens, window=window, layers=layers)
        return _measured("prepare", reading, work)

    def _asked_model(self) -> Stages:
        heldout = self._words.token_ids(NUM_HELDOUT if self.shape.width > 1000 else NUM_HELDOUT // 10)
        windows = [heldout[i : i + 32] for i in range(0, len(heldout) - 31, 32)]
        return Stages(
            loaded=self._loaded,
            config=self.config,
            contexts=self._words.contexts,
            covariances=self._covariances,
            probes=build_probes(self._loaded.model, windows, num_prompts=NUM_PROBES),
            heldout_ids=heldout,
            heldout_perplexity=perplexity(self._loaded.model, heldout),
        )

    def _check(self, stages: Stages, update: Update) -> Measured:
        sample, reading = self._edits[: self._choice.num_checked], Reading()
        with self._meter.piece(reading):
            stages.check(sample, update)
        return _measured(f"checks of {len(sample)}", reading, stages.check_work(sample))

    def _promote(self, update: Update, store: VersionStore) -> Iterator[Measured]:
        """Write the version, then serve it: from its matrices in main memory, and from its file."""
        written, from_memory, from_file = Reading(), Reading(), Reading()
        with self._meter.piece(written):
            write_version(store, self._loaded, VERSION, update.weights, edits=self._edits)
        work = view_work(self.shape, num_layers=len(self.config.layers))
        yield _measured("write", written, work)
        held = {name: weight.cpu() for name, weight in update.weights.items()}
        update.weights.clear()
        with self._meter.piece(from_memory):
            self._first_token(held)
        yield _measured("view + promote", from_memory, work)
        with self._meter.piece(from_file):
            self._first_token(store.load_tensors(VERSION, self._loaded.device))
        yield _measured("promote a file", from_file, work)

    def _first_token(self, weights: dict[str, Tensor]) -> None:
        view = make_view(self._loaded.model, weights)
        prompt = self._edits[0].edit.filled_prompt
        continue_greedily(view, self._loaded.tokenizer, [prompt], max_new_tokens=1)


def _measured(name: str, reading: Reading, work: Work, laid_out: Work = NOTHING) -> Measured:
    return Measured(name, work, work if laid_out is NOTHING else laid_out, reading.seconds, reading.grown_bytes)


def _config(loaded: LoadedModel) -> MemitConfig:
    num_layers = loaded.family.num_layers(loaded.model)
    known = preset(loaded.family.model_type, num_layers=num_layers, hidden_size=loaded.hidden_size)
    return replace(known, num_steps=NUM_STEPS, stop_loss=-1.0)


def _full_rank(moment_MM: Tensor) -> Tensor:
    covariance = moment_MM.float()
    covariance.diagonal().add_(RIDGE * float(covariance.diagonal().mean()))
    return covariance
