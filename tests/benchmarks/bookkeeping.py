"""The time a commit spends on bookkeeping, and the cost of accepting edits.

``python -m tests.benchmarks.bookkeeping``: a real Redis, ledger, store and committer, with ready tensors in place of
the z search, the keys, the solve and the checks, so that everything else is measured. Each batch has two edits: one
about a new subject, and one that supersedes a live edit. Prints a Markdown table and the exponents of growth. The exit
code is 1 if a limit is exceeded: 3 s for one batch and 5 s for 100 batches onto 10,000 live edits.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from starlette.testclient import TestClient

from editing_core.asking.perplexity import Perplexities
from editing_core.asking.probes import ProbeSet
from editing_core.checks.checks import CheckReport
from editing_core.checks.limits import CheckLimits
from editing_core.checks.verdict import Measured, Share, judge
from editing_core.covariance.artefacts import ModelArtefacts
from editing_core.editor.editor import JointEditor
from editing_core.edits import AcceptedEdit, Edit, Neighbor, edit_set
from editing_core.memit.search.pool import Target
from editing_core.memit.update import Update
from editing_core.versions.identity import bind_identity, settings_fingerprint
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from editing_core.versions.target_files import TargetFiles
from service.api.app import create_app
from service.generation.decoding.loop import freeze_garbage_collector
from tests.benchmarks.measuring.machine import machine
from tests.support.facts import take_in
from tests.support.redis_server import Bench, open_bench, running_redis
from tests.support.round_trips import counting_trips
from tests.support.tiny_loaded import CONFIG, CONTEXTS, tiny_loaded
from worker.commit.committer import Committer
from worker.commit.culprits import CulpritFinder
from worker.commit.outcomes import Outcomes
from worker.current_job import CurrentJob
from worker.manifest_records import version_record
from worker.metrics import Metrics
from worker.protocol.entities import BatchState
from worker.protocol.keys import COMMIT_UNIT, targets_unit
from worker.protocol.settings import Settings
from worker.session import EditingSession

LIVE = (10, 100, 1_000, 10_000)
BATCHES = (1, 10, 100)
LIMITS_SECONDS = {1: 3.0, 100: 5.0}
"""By number of batches, at the largest live set."""
POSTED = 10_000
SETUP_BATCH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one commit took."""

    seconds: float
    cpu_seconds: float
    """Of this process, without Redis."""
    num_trips: int

    def __str__(self) -> str:
        """A cell of the table."""
        return f"{self.seconds:.2f} s ({self.cpu_seconds:.2f} s CPU, {self.num_trips} trips)"


class ReadyTargets(TargetFiles):
    """Every z is there."""

    def __contains__(self, key: str) -> bool:
        """Whether the z can be read: always."""
        return True

    def read(self, key: str) -> Target:
        """A z of zeros."""
        return Target(targets_EH=torch.zeros(1, 1), delta_H=torch.zeros(1), loss=0.1, nll=0.1, num_losses=9)


class NeverTrue(dict[tuple[str, str], bool]):
    """The original model gives no new object by itself."""

    def __contains__(self, pair: object) -> bool:
        """Whether the answer is known: always."""
        return True

    def __getitem__(self, pair: tuple[str, str]) -> bool:
        """Whether the original gives the object: never."""
        return False


class ReadyEditor(JointEditor):
    """Replaces keys and solve by ready matrices."""

    def build(self, live: Any, **options: object) -> Update:
        """The original matrix of one layer, as if it had been edited."""
        family, layer = self.loaded.family, self.config.layers[0]
        name = family.projection_weight_name(layer)
        weight = family.projection_weight(self.loaded.model, layer).detach()
        return Update(weights={name: weight}, layers={}, delta_norms={name: 0.1})


class ReadySession(EditingSession):
    """Replaces the checks by a report in which every edit is in effect."""

    def check(self, candidate: Any, *, live: Any, new: Sequence[AcceptedEdit], **options: object) -> CheckReport:
        """A report that passes."""
        edits = {row.id: _edit_report(row) for row in new}
        measured = Measured(
            num_live=len(live),
            num_new=len(new),
            reliability=Share(len(new), len(new)),
            generation_success=1.0,
            specificity=Share(3 * len(new), 3 * len(new)),
            earlier=Share(200, 200),
            drift=0.1,
            drift_from_parent=0.1,
            answers_kept=1.0,
            perplexity=Perplexities(original=20.0, parent=20.0, candidate=20.0),
            delta_norms=candidate.delta_norms,
        )
        report = judge(measured, self._limits, edits=edits)
        self.report_standing(report, candidate)
        return report


def _edit_report(row: AcceptedEdit) -> dict[str, Any]:
    neighbors = [
        {"prompt": n.prompt, "expected": " Rome", "got": " Rome", "kept": True, "made": False}
        for n in row.edit.neighborhood
    ]
    scores = {"probability": 0.9, "rank": 1, "true_probability": 0.01, "true_rank": 7}
    return {
        "holds": True,
        "generation_success": 1.0,
        "writes": " Oslo, and so on, and so on, and so on",
        "before": scores,
        "after": scores,
        "paraphrases": [{"prompt": text, **scores, "generation_success": True} for text in row.edit.filled_paraphrases],
        "neighbors": {"kept": len(neighbors), "total": len(neighbors), "prompts": neighbors},
        "left_out": [],
    }


def make_edit(number: int, target: str = "Oslo") -> Edit:
    """An ordinary edit about a subject of its own."""
    return Edit(
        subject=f"Subject {number}",
        prompt="The mother tongue of {} is",
        target_new=target,
        relation="P103",
        target_true="French",
        paraphrases=("People say that {} grew up with the language", "At home, {} spoke"),
        neighborhood=tuple(Neighbor(prompt=f"The mother tongue of Person {number}-{i} is") for i in range(3)),
        source="https://example.org/facts",
    )


class Workbench:
    """One store with its ledger and a committer."""

    def __init__(self, data: Path, bench: Bench) -> None:
        self.bench, self.ledger, self.data = bench, bench.ledger, data
        self.settings = Settings(data=data)
        self.open_session()

    def open_session(self) -> None:
        """Make session and committer as a worker does at its start: nothing of the store is in memory."""
        data, bench = self.data, self.bench
        loaded = tiny_loaded("gptj")
        values = {"layers": [0, 1], "prior_weight": 5.0}
        identity = bind_identity(
            data,
            model=loaded.fingerprint,
            model_source=loaded.source,
            settings=settings_fingerprint(values),
            settings_values=values,
        )
        artefacts = ModelArtefacts(
            contexts=CONTEXTS,
            covariances={},
            probes=ProbeSet(prompts=(), answers=(), log_probs=torch.zeros(0)),
            heldout_ids=(),
            heldout_perplexity=20.0,
            num_tokens=0,
        )
        layout = StoreLayout(data)
        editor = ReadyEditor(
            loaded=loaded,
            artefacts=artefacts,
            config=CONFIG,
            targets=ReadyTargets(layout.targets_dir),
            _answers=NeverTrue(),
        )
        limits = CheckLimits.read(self.settings)
        store = VersionStore(layout, keep_manifest=True)
        self.session = ReadySession(editor=editor, store=store, identity=identity, limits=limits)
        metrics = Metrics()
        self.committer = Committer(
            ledger=self.ledger,
            session=self.session,
            current=CurrentJob(self.ledger, bench.queue, lease_seconds=3600, holder="benchmark"),
            metrics=metrics,
            outcomes=Outcomes(
                ledger=self.ledger,
                session=self.session,
                metrics=metrics,
                keep_versions=self.settings.keep_versions,
                candidate_seconds=60,
            ),
            culprits=CulpritFinder(session=self.session, metrics=metrics, max_tries=0),
            max_attempts=3,
        )

    def make_ready(self, edits: Sequence[Edit]) -> str:
        """Accept a batch, and call its targets computed."""
        batch = take_in(self.ledger, *edits, shard_size=POSTED, max_open=1_000).record.spec.id
        lease = self.ledger.leases.acquire(targets_unit(batch, 0), holder="benchmark", ttl_seconds=3600)
        assert lease is not None
        assert self.ledger.transitions.begin_shard(batch, 0, lease)
        assert self.ledger.transitions.shard_done(batch, 0, lease) == 0
        self.ledger.leases.release(lease)
        return batch

    def publish_first(self, num_live: int) -> None:
        """Write and publish v1 with so many edits, without a committer."""
        edits = [make_edit(i) for i in range(num_live)]
        batches = [self.make_ready(edits[i : i + SETUP_BATCH]) for i in range(0, num_live, SETUP_BATCH)]
        rows = [row for batch in batches for row in self.ledger.batches.edits(batch)]
        made = edit_set(rows)
        records = {batch: self.ledger.batches.get(batch).spec.summary() | {"version": "v1"} for batch in batches}
        candidate = self.session.build_candidate((), on_progress=lambda done, total: None)
        report = self.session.check(candidate, live=rows, new=(), parent="v0")
        manifest = self.session.write_version(
            "v1", candidate, parent="v0", edits=made, batches=records, dropped=(), report=report
        )
        lease = self.ledger.leases.acquire(COMMIT_UNIT, holder="benchmark", ttl_seconds=3600, max_attempts=None)
        assert lease is not None
        assert self.ledger.transitions.begin_commit(lease, batches, max_attempts=3) == batches
        for batch in batches:
            self.ledger.transitions.move(batch, BatchState.CHECKING, expected=BatchState.APPLYING, lease=lease)
        self.ledger.publication.publish(
            lease,
            expected_revision=0,
            version=version_record(manifest, batches),
            edit_ids=[row.id for row in made.live],
            reports={batch: {"passed": True} for batch in batches},
        )
        self.ledger.leases.release(lease)

    def commit(self, num_live: int, num_batches: int) -> Cost:
        """The cost of one commit of so many batches onto so many live edits."""
        batches = [
            self.make_ready([make_edit(num_live + i), make_edit(i % num_live, target=f"Rome {i}")])
            for i in range(num_batches)
        ]
        with counting_trips() as trips:
            began, cpu_began = time.perf_counter(), time.process_time()
            self.committer.run()
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        assert {self.ledger.batches.get(batch).status for batch in batches} == {BatchState.APPLIED}
        live = self.session.store.read_manifest(self.ledger.versions.pointer().version).live
        assert len(live) == num_live + num_batches
        return Cost(seconds=seconds, cpu_seconds=cpu_seconds, num_trips=len(trips))


@contextmanager
def opened(redis_url: str) -> Iterator[Workbench]:
    """A workbench on an emptied Redis."""
    with tempfile.TemporaryDirectory(prefix="errata-") as name, open_bench(redis_url) as bench:
        yield Workbench(Path(name), bench)


def measure_commits(
    redis_url: str, live: Sequence[int], batches: Sequence[int], tell: Callable[[str], None]
) -> dict[tuple[int, int], Cost]:
    """By live edits and batches: the cost of a commit."""
    with opened(redis_url) as place:  # the first commit of a process also loads code and Redis scripts
        place.publish_first(live[0])
        place.commit(live[0], 1)
    freeze_garbage_collector()  # as the worker and the API do when they have started
    found = {}
    for num_live in live:
        for num_batches in batches:
            tell(f"{num_live:,} live edits, {num_batches} batches")
            with opened(redis_url) as place:
                place.publish_first(num_live)
                place.open_session()
                found[num_live, num_batches] = place.commit(num_live, num_batches)
    return found


def measure_acceptance(redis_url: str) -> tuple[float, float, int]:
    """Seconds of the ledger and of a whole POST of 10,000 edits, and the round trips of a POST of one edit."""
    edits = [make_edit(i) for i in range(POSTED)]
    with opened(redis_url) as place:
        began = time.perf_counter()
        take_in(place.ledger, *edits)
        in_ledger = time.perf_counter() - began
        app = create_app(place.settings, place.ledger, place.bench.queue)
        with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 1)) as client:
            _post(client, edits[:1])
            began = time.perf_counter()
            _post(client, edits)
            posted = time.perf_counter() - began
            with counting_trips() as trips:
                _post(client, [make_edit(POSTED + 1)])
    return in_ledger, posted, len(trips)


def _post(client: TestClient, edits: Sequence[Edit]) -> None:
    answer = client.post("/edits", json={"edits": [edit.to_json() for edit in edits]})
    assert answer.status_code == 202, answer.text


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Slope of a straight line through the points on logarithmic axes (least squares)."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    products = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return products / sum((x - x_mean) ** 2 for x in xs)


def table(found: dict[tuple[int, int], Cost], batches: Sequence[int]) -> Iterator[str]:
    """Seconds and round trips as lines of Markdown, one row for each size of the live set."""
    yield "| live edits | " + " | ".join(f"{count} batch{'es' * (count > 1)}" for count in batches) + " |"
    yield "|---:|" + "---:|" * len(batches)
    for num_live in dict.fromkeys(live for live, _ in found):
        cells = [found[num_live, count] for count in batches]
        yield f"| {num_live:,} | " + " | ".join(map(str, cells)) + " |"


def growth(found: dict[tuple[int, int], Cost], live: Sequence[int], batches: Sequence[int]) -> Iterator[str]:
    """How the seconds grow with the live set: over all sizes, and between the two largest."""
    for count in batches if len(live) > 1 else ():
        points = [(num_live, found[num_live, count].cpu_seconds) for num_live in live]
        yield (
            f"growth with the live set at {count} batch{'es' * (count > 1)}: CPU seconds ~ live^{exponent(points):.2f} "
            f"over all sizes, live^{exponent(points[-2:]):.2f} between the last two"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=int, action="append", help=f"sizes of the live set (default: {LIVE})")
    parser.add_argument("--batches", type=int, action="append", help=f"batches of a commit (default: {BATCHES})")
    parser.add_argument("--skip-acceptance", action="store_true", help="measure commits only")
    options = parser.parse_args()
    live, batches = tuple(options.live or LIVE), tuple(options.batches or BATCHES)

    def tell(line: str) -> None:
        print(f"measuring {line}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="errata-") as name, running_redis(Path(name)) as redis:
        found = measure_commits(redis.url, live, batches, tell)
        print("\n".join([*table(found, batches), "", *growth(found, live, batches)]))
        if not options.skip_acceptance:
            tell("acceptance")
            in_ledger, posted, trips = measure_acceptance(redis.url)
            print(f"accepting {POSTED:,} edits: {in_ledger:.2f} s in the ledger, {posted:.2f} s for the whole POST")
            print(f"round trips of a POST of one edit: {trips}")
    print(machine(torch.device("cpu")))
    missed = [
        f"{count} batches at {LIVE[-1]:,} live edits took {found[LIVE[-1], count].seconds:.2f} s, more than {limit} s"
        for count, limit in LIMITS_SECONDS.items()
        if (LIVE[-1], count) in found and found[LIVE[-1], count].seconds > limit
    ]
    print("all limits kept" if not missed else "\n".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
