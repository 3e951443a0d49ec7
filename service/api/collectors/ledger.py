"""Metrics that are read from the ledger on each scrape. Every label value exists from the start, as 0."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from editing_core.errors import NotFound
from service.api.collectors.checks import check_metrics
from service.api.collectors.redis import redis_metrics
from worker.protocol.entities import FINAL_STATES, ORIGINAL, BatchState, Pointer, VersionRecord, version_number
from worker.protocol.errors import LedgerDown
from worker.protocol.keys import COMMIT_UNIT
from worker.protocol.ledger.batches import STAGES
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.queue import WorkQueue

LONGEST_SECONDS = 2.0
"""Time limit for reading the ledger, because Prometheus abandons a scrape that takes too long."""
OPEN_STATES = tuple(state for state in BatchState if state not in FINAL_STATES)


class LedgerCollector(Collector):
    """Reads the ledger on each collection."""

    def __init__(self, ledger: Ledger, queue: WorkQueue) -> None:
        self._ledger = ledger
        self._queue = queue
        self._reading = threading.Lock()
        """Held by the reading thread, so threads do not pile up behind a hanging Redis."""

    def describe(self) -> list[Metric]:
        """Return no metrics, because the ledger may be unreachable when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the ledger. If it does not answer, the only metric is ``errata_ledger_up``."""
        reading: Future[list[Metric]] = Future()
        threading.Thread(target=self._read_into, args=(reading,), name="errata-metrics", daemon=True).start()
        try:
            metrics = reading.result(timeout=LONGEST_SECONDS)
        except (LedgerDown, TimeoutError):
            metrics = []
        yield GaugeMetricFamily("errata_ledger_up", "1 if Redis answers.", value=1 if metrics else 0)
        yield from metrics

    def _read_into(self, reading: Future[list[Metric]]) -> None:
        if not self._reading.acquire(timeout=LONGEST_SECONDS):
            return
        try:
            reading.set_result([
                *self._gauges(),
                *self._batches(),
                self._edits(),
                self._stages(),
                *redis_metrics(self._ledger),
            ])
        except Exception as error:  # noqa: BLE001 -- raised again by collect
            reading.set_exception(error)
        finally:
            self._reading.release()

    def _gauges(self) -> Iterator[Metric]:
        pointer = self._ledger.versions.pointer()
        live = self._live(pointer)
        gauges = (
            ("errata_queue_depth", "Jobs that wait for a worker.", self._queue.depth()),
            ("errata_open_batches", "Batches without a final state.", self._ledger.batches.count_open()),
            ("errata_pointer_revision", "Number of the last promotion.", pointer.revision),
            ("errata_live_version_number", "Number of the live version: 12 of v12.", version_number(pointer.version)),
            ("errata_live_edits", "Edits in force.", live.num_edits if live else 0),
            ("errata_open_exports", "Exports that wait or run.", len(self._ledger.exports.open())),
            ("errata_candidates", "Versions that wait to be promoted.", len(self._ledger.versions.candidates())),
            ("errata_audit_entries", "Entries of the audit chain.", self._ledger.audit.length()),
            (
                "errata_commit_lease_age_seconds",
                "How long a worker has held the commit lease; 0: no worker holds it.",
                self._commit_lease_age(),
            ),
        )
        for name, meaning, value in gauges:
            yield GaugeMetricFamily(name, meaning, value=value)
        info = GaugeMetricFamily("errata_live_version_info", "Always 1.", labels=("version", "digest"))
        info.add_metric((pointer.version, live.digest if live else ""), 1)
        yield info
        yield from check_metrics(live.checks if live else {})

    def _commit_lease_age(self) -> float:
        since = self._ledger.leases.held_since(COMMIT_UNIT)
        return _age_seconds(since) if since else 0.0

    def _live(self, pointer: Pointer) -> VersionRecord | None:
        """Return the record of the live version; None for the original, or if the record is not written yet or lost."""
        try:
            return None if pointer.version == ORIGINAL else self._ledger.versions.get(pointer.version)
        except NotFound:
            return None

    def _batches(self) -> Iterator[Metric]:
        records = self._ledger.batches.open()
        counts = Counter(record.status for record in records)
        counts[BatchState.CANDIDATE] = len(self._ledger.versions.candidates())
        family = GaugeMetricFamily("errata_batches", "Batches without a final state, by state.", labels=("state",))
        for state in OPEN_STATES:
            family.add_metric((state,), counts[state])
        yield family
        waiting = min((record.spec.created for record in records), default=None)
        age = _age_seconds(waiting) if waiting else 0.0
        yield GaugeMetricFamily("errata_oldest_batch_age_seconds", "Age of the oldest open batch.", value=age)

    def _edits(self) -> Metric:
        family = CounterMetricFamily("errata_edits", "Edits that reached a final state.", labels=("outcome",))
        counts = self._ledger.batches.edit_outcomes()
        for outcome in sorted({*FINAL_STATES, *counts}):
            family.add_metric((outcome,), counts.get(outcome, 0))
        return family

    def _stages(self) -> Metric:
        family = SummaryMetricFamily("errata_stage_seconds", "Time spent in a stage of the work.", labels=("stage",))
        times = self._ledger.batches.stage_times()
        for stage in STAGES:
            count, seconds = times.get(stage, (0, 0.0))
            family.add_metric((stage,), count_value=count, sum_value=seconds)
        return family


def _age_seconds(since: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
