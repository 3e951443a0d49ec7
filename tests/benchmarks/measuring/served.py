"""A model served by a process of its own, with Redis and two versions in addition to the original, for benchmarks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from editing_core.demo.facts import load_facts, load_relations, prompt_of
from editing_core.models.load import LoadedModel, load_model
from editing_core.models.location import resolve_model_path
from editing_core.versions.identity import bind_identity, open_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.generation import publish, write_version
from tests.support.redis_server import running_redis
from tests.support.replicas import running_replica
from worker.protocol.connections import connect
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger

NEVER_WRITTEN = "\u0101"
"""The byte 1, as byte-level tokenizers write it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The address of the service and the parts behind it."""

    url: str
    loaded: LoadedModel
    """The same model in this process."""
    ledger: Ledger
    versions: tuple[str, ...]
    """Live one last."""


@contextmanager
def served(source: str, **settings: object) -> Iterator[Served]:
    """v2 live; v0 and v1 kept."""
    with TemporaryDirectory(prefix="errata-bench-") as folder:
        source = endless_copy(source, Path(folder) / "model")
        loaded = load_model(source, device="cpu", dtype="float32")
        data = Path(folder) / "data"
        bind_identity(data, model=loaded.fingerprint, model_source=source)
        store = VersionStore(StoreLayout(data))
        with running_redis(data) as redis:
            connection = connect(redis.url)
            ledger = Ledger(connection, Keys(open_identity(data).id))
            publish(ledger, write_version(store, loaded, "v1"))
            publish(ledger, write_version(store, loaded, "v2", parent="v1"))
            with running_replica(redis.url, data, model=source, device="cpu", **settings) as replica:
                yield Served(url=replica.url, loaded=loaded, ledger=ledger, versions=("v0", "v1", "v2"))
            connection.close()


def endless_copy(source: str, folder: Path) -> str:
    """A copy of a model that ends no answer by itself, so that all are equally long: its end is a control byte."""
    shutil.copytree(resolve_model_path(source), folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    for name, members in (
        ("config.json", {"eos_token_id": vocabulary[NEVER_WRITTEN]}),
        ("generation_config.json", {"eos_token_id": vocabulary[NEVER_WRITTEN]}),
        ("tokenizer_config.json", {"eos_token": NEVER_WRITTEN}),
    ):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | members))
    return str(folder)


def fact_prompts(count: int) -> list[str]:
    """Prompts about facts of the demo model, spread over its relations."""
    facts, relations = load_facts(), load_relations()
    chosen = facts[:: max(1, len(facts) // count)][:count]
    return [prompt_of(fact, relations[fact.relation].phrasings[0]) for fact in chosen]
