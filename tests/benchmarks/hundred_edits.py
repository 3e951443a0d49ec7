"""A hundred edits of a demo model in one batch over HTTP: how many hold, the harm to other facts, and the duration.

The figures are measured on the bytes that were served, by the same code as ``errata evaluate``.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from editing_core.asking.perplexity import perplexity
from editing_core.covariance.defaults import corpus_for
from editing_core.covariance.prepare import heldout_ids
from editing_core.demo.facts import Fact, load_facts, load_relations, prompt_of
from editing_core.demo.models import DemoModel
from editing_core.edits import Edit, Neighbor
from editing_core.measuring.metrics import Metrics, evaluate_cases, summarise
from editing_core.models.load import LoadedModel, load_model
from editing_core.models.views import make_view
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.cli.demo.running import running_errata
from service.client.client import Client
from worker.protocol.settings import fresh_environment

NUM_EDITS = 100
NUM_NEIGHBORS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One batch of one seed."""

    seed: int
    seconds: float
    """From POST to applied."""
    metrics: Metrics
    perplexity_before: float
    perplexity_after: float
    num_heldout_tokens: int

    @property
    def perplexity_rise(self) -> float:
        """As a share of the original's."""
        return self.perplexity_after / self.perplexity_before - 1


def draw(seed: int, num_edits: int = NUM_EDITS) -> list[Edit]:
    """Facts drawn from all, each with a new object drawn from its relation's others and neighbours not edited."""
    rng = random.Random(seed)
    by_object: defaultdict[tuple[str, str], list[Fact]] = defaultdict(list)
    objects: defaultdict[str, set[str]] = defaultdict(set)
    for fact in load_facts():
        by_object[fact.relation, fact.object].append(fact)
        objects[fact.relation].add(fact.object)
    drawn = rng.sample(load_facts(), num_edits)
    edited = {fact.subject for fact in drawn}
    edits = []
    for fact in drawn:
        first, *others = rng.sample(
            load_relations()[fact.relation].phrasings, k=len(load_relations()[fact.relation].phrasings)
        )
        same = [other for other in by_object[fact.relation, fact.object] if other.subject not in edited]
        edits.append(
            Edit(
                subject=fact.subject,
                prompt=first,
                target_new=rng.choice(sorted(objects[fact.relation] - {fact.object})),
                target_true=fact.object,
                relation=fact.relation,
                paraphrases=tuple(others),
                neighborhood=tuple(
                    Neighbor(prompt=prompt_of(other, first), target=other.object)
                    for other in rng.sample(same, min(NUM_NEIGHBORS, len(same)))
                ),
            )
        )
    return edits


def measure(model: DemoModel, seeds: tuple[int, ...]) -> Iterator[Run]:
    """Send the batch of each seed to an Errata of its own, each on the untouched model, and measure what is served."""
    loaded = load_model(model)
    heldout = heldout_ids(loaded, corpus_for(model, None))
    before = perplexity(loaded.model, heldout)
    with tempfile.TemporaryDirectory(prefix="errata-") as name:
        folder = Path(name)
        environment = fresh_environment(model=model, data=folder / "data", port=0)
        with (
            running_errata(environment, log=folder / "log") as running,
            Client(running.url, timeout_seconds=300.0) as client,
        ):
            for seed in seeds:
                edits = draw(seed)
                version, seconds = _apply(client, edits)
                yield _measured(
                    loaded,
                    folder / "data",
                    version,
                    edits=edits,
                    heldout=heldout,
                    before=before,
                    seed=seed,
                    seconds=seconds,
                )


def _apply(client: Client, edits: list[Edit]) -> tuple[str, float]:
    client.promote("v0")
    started = time.monotonic()
    batch = client.wait_for_batch(client.submit_edits([edit.to_json() for edit in edits]).id)
    assert batch.status == "applied", f"{batch.status}: {batch.error}"
    assert batch.version is not None
    return batch.version, time.monotonic() - started


def _measured(
    loaded: LoadedModel,
    data: Path,
    version: str,
    *,
    edits: list[Edit],
    heldout: list[int],
    before: float,
    seed: int,
    seconds: float,
) -> Run:
    view = make_view(loaded.model, VersionStore(StoreLayout(data)).load_tensors(version, loaded.device))
    return Run(
        seed=seed,
        seconds=seconds,
        metrics=summarise(evaluate_cases(view, loaded.tokenizer, [(edit, ()) for edit in edits])),
        perplexity_before=before,
        perplexity_after=perplexity(view, heldout),
        num_heldout_tokens=len(heldout),
    )
