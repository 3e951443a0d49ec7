"""The figures that Prometheus reads from generation; HTTP's own are counted where HTTP is served."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from editing_core.versions.layout import version_number

ANSWER_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
SWAP_BUCKETS_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)


class _Gauges:
    """What is true now."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.revision = Gauge(
            "errata_generation_pointer_revision", "Revision of the pointer that is served.", registry=registry
        )
        self.version = Gauge(
            "errata_generation_version_number", "Number of the version that is live here: 12 of v12.", registry=registry
        )
        self.revisions_behind = Gauge(
            "errata_generation_behind_revisions", "Moves of the pointer not followed yet.", registry=registry
        )
        self.seconds_behind = Gauge(
            "errata_generation_behind_seconds", "Since when another version should be live here.", registry=registry
        )
        self.waits_for_room = Gauge(
            "errata_generation_waits_for_memory", "1 while the live version waits for memory.", registry=registry
        )
        self.running = Gauge("errata_generation_running_requests", "Prompts in a place.", registry=registry)
        self.waiting = Gauge("errata_generation_waiting_requests", "Prompts without a place.", registry=registry)
        self.resident = Gauge("errata_generation_resident_versions", "Versions in memory.", registry=registry)


class GenerationMetrics:
    """What is counted; made once per process, into the registry that is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "errata_generation_answers_total",
            "Answers by how they ended: stop, length, gone (the client), refused, failed.",
            ("outcome",),
            registry=registry,
        )
        self._tokens = Counter(
            "errata_generation_tokens_total", "Tokens read and written.", ("kind",), registry=registry
        )
        self._seconds = Histogram(
            "errata_generation_answer_duration_seconds",
            "From a prompt's arrival to its whole answer.",
            registry=registry,
            buckets=ANSWER_BUCKETS_SECONDS,
        )
        self._swap = Histogram(
            "errata_generation_swap_duration_seconds",
            "From seeing a moved pointer to serving its version.",
            registry=registry,
            buckets=SWAP_BUCKETS_SECONDS,
        )
        self._first = Histogram(
            "errata_generation_first_token_duration_seconds",
            "From a streamed prompt's arrival to its first piece of text.",
            registry=registry,
            buckets=ANSWER_BUCKETS_SECONDS,
        )
        self._now = _Gauges(registry)

    def watch(self, counts: Callable[[], tuple[int, int]], num_resident: Callable[[], int]) -> None:
        """Read these when Prometheus asks: requests running and waiting, versions in memory."""
        self._now.running.set_function(lambda: counts()[0])
        self._now.waiting.set_function(lambda: counts()[1])
        self._now.resident.set_function(num_resident)

    def watch_pointer(
        self, *, num_behind: Callable[[], int], seconds_behind: Callable[[], float], waits_for_room: Callable[[], bool]
    ) -> None:
        """Read these too: how well the pointer is followed."""
        self._now.revisions_behind.set_function(num_behind)
        self._now.seconds_behind.set_function(seconds_behind)
        self._now.waits_for_room.set_function(lambda: float(waits_for_room()))

    def answered(self, outcome: str, *, prompt_tokens: int, completion_tokens: int, seconds: float) -> None:
        """Count one finished answer."""
        self._answers.labels(outcome).inc()
        self._tokens.labels("prompt").inc(prompt_tokens)
        self._tokens.labels("completion").inc(completion_tokens)
        self._seconds.observe(seconds)

    def not_answered(self, outcome: str, num_prompts: int) -> None:
        """Count prompts that got no answer."""
        self._answers.labels(outcome).inc(num_prompts)

    def first_piece(self, seconds: float) -> None:
        """Note how long a stream's first piece of text took."""
        self._first.observe(seconds)

    def swapped(self, *, revision: int, version: str, seconds: float) -> None:
        """Note that another revision of the pointer is served."""
        self._now.revision.set(revision)
        self._now.version.set(version_number(version))
        self._swap.observe(seconds)
