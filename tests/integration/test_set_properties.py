"""Whatever is added, superseded, taken out, rolled back and killed: the live weights are those of the set, solved anew.

Random histories against a real worker and Redis; a dying worker is another process that kills itself at a named move.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from editing_core.edits import Edit, EditSet
from tests.support.facts import fact
from tests.support.redis_server import running_redis
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.entities import BatchState, EditStatus
from worker.protocol.settings import Settings
from worker.session import EditingSession

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SUBJECTS, OBJECTS, RELATIONS = ("Ada", "Chopin", "Borg"), ("Rome", "Oslo", "Lima"), ("P103", "P27")
DEATHS = (
    ("after", "transitions.progress:computing"),
    ("before", "transitions.shard_done"),
    ("before", "transitions.move:checking"),
    ("before", "publication.publish"),
    ("after", "publication.publish"),
)
facts = st.builds(fact, st.sampled_from(SUBJECTS), st.sampled_from(OBJECTS), relation=st.sampled_from(RELATIONS))
batches = st.lists(facts, min_size=1, max_size=3, unique_by=lambda edit: edit.identity)
places = st.integers(0, 9)
steps = st.one_of(
    st.tuples(st.just("add"), batches),
    st.tuples(st.just("take out"), st.sets(places, min_size=1, max_size=2)),
    st.tuples(st.just("exchange"), batches, st.sets(places, min_size=1, max_size=2)),
    st.tuples(st.just("roll back"), places),
    st.tuples(st.just("die and add"), batches, st.sampled_from(DEATHS)),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis.url


@dataclass
class History:
    """What was done, and the set that each version must hold by it."""

    place: WorkerBench
    workers: ExitStack
    sets: dict[str, EditSet] = field(default_factory=lambda: {"v0": EditSet(live=())})

    @property
    def live(self) -> str:
        return self.place.ledger.versions.pointer().version

    def change(self, *edits: Edit, remove: Collection[int] = (), death: tuple[str, str] | None = None) -> None:
        known = self.sets[self.live].everything
        doomed = sorted({known[place % len(known)].id for place in remove}) if known else []
        if not edits and not doomed:
            return
        before = self.live
        batch = self._send(edits, doomed, death)
        record = self.place.wait(batch)
        assert record.status == BatchState.APPLIED, record
        assert record.version == self.live
        joined = self.sets[before].joined(self.place.ledger.batches.edits(batch), without=doomed)
        if self.live == before:  # all of it was in force already
            held = self.sets[before]
            beneath = [row for row in joined.superseded if row.id not in joined.repeats or row in held.superseded]
            assert (joined.live, beneath) == (held.live, list(held.superseded))
        else:
            self.sets[self.live] = joined

    def _send(self, edits: tuple[Edit, ...], doomed: list[str], death: tuple[str, str] | None) -> str:
        if death is None:
            return self.place.send(*edits, remove=doomed)
        self.workers.close()
        with self.place.worker(dying=death) as process:
            batch = self.place.send(*edits, remove=doomed)
            while (
                process.poll() is None and not self.place.ledger.batches.get(batch).is_final
            ):  # it may never come to that
                time.sleep(0.05)
            process.kill()
        self.workers.enter_context(self.place.worker())
        return batch

    def roll_back(self, place: int) -> None:
        kept = self.place.store.list()
        self.place.ledger.publication.promote(kept[place % len(kept)], author=None)

    def require_agreement(self, session: EditingSession) -> None:
        """Ledger, manifest, files and a solve of the set from the original say the same."""
        ledger, live, expected = self.place.ledger, self.live, self.sets[self.live]
        manifest = self.place.store.read_manifest(live)
        ids = {row.id for row in expected.live}
        assert ledger.versions.live_edit_ids(live) == {row.id for row in manifest.live} == ids
        assert {row.id for row in manifest.edit_set.superseded} == {row.id for row in expected.superseded}
        assert ledger.versions.get(live).digest == manifest.digest
        self.place.store.load_tensors(live, "cpu")  # the digest of the very bytes
        found = [row for row in ledger.edits.find(limit=500).items if row.status == EditStatus.LIVE]
        assert {row.accepted.id for row in found} == ids
        candidate = session.build_candidate(expected.live, on_progress=lambda done, total: None)
        assert "sha256:" + hashlib.sha256(save(candidate.weights)).hexdigest() == manifest.digest
        assert not ledger.batches.count_open()


@given(st.lists(steps, min_size=2, max_size=6))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_the_live_weights_are_those_of_the_set_whatever_has_happened(
    prepared: PreparedModel, redis_url: str, tmp_path_factory: pytest.TempPathFactory, story: list[tuple[Any, ...]]
) -> None:
    data: Path = tmp_path_factory.mktemp("place") / uuid.uuid4().hex
    place = prepared.bench(data, redis_url, reconcile_seconds=0.3, keep_versions=50)
    session = EditingSession.open(Settings.model_validate({**prepared.settings, "data": data, "num_threads": 1}))
    with ExitStack() as workers:
        workers.enter_context(place.worker())
        history = History(place=place, workers=workers)
        for kind, *details in story:
            match kind, *details:
                case "add", edits:
                    history.change(*edits)
                case "take out", doomed:
                    history.change(remove=doomed)
                case "exchange", edits, doomed:
                    history.change(*edits, remove=doomed)
                case "roll back", where:
                    history.roll_back(where)
                case "die and add", edits, death:
                    history.change(*edits, death=death)
            history.require_agreement(session)
