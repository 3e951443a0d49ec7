"""The Prometheus metrics of generation; those of HTTP are in ``service.api``."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from editing_core.versions.layout import version_number

ANSWER_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
GAP_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
SWAP_BUCKETS_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)


OUTCOMES = ("stop", "length", "gone", "refused", "failed")
SCORE_OUTCOMES = ("scored", "gone", "refused", "failed")
TOKEN_KINDS = ("prompt", "completion")


class _Gauges:
    """The current state."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.revision = Gauge(
            "errata_generation_pointer_revision", "Revision of the pointer that this process serves.", registry=registry
        )
        self.version = Gauge(
            "errata_generation_version_number",
            "Number of the version that this process serves as live: 12 for v12.",
            registry=registry,
        )
        self.revisions_behind = Gauge(
            "errata_generation_behind_revisions",
            "Moves of the pointer that this process has not followed yet.",
            registry=registry,
        )
        self.seconds_behind = Gauge(
            "errata_generation_behind_seconds",
            "Seconds for which another version should have been live here.",
            registry=registry,
        )
        self.waits_for_memory = Gauge(
            "errata_generation_waits_for_memory", "1 while the live version waits for memory.", registry=registry
        )
        self.running = Gauge("errata_generation_running_requests", "Requests that have a place.", registry=registry)
        self.waiting = Gauge("errata_generation_waiting_requests", "Requests that wait for a place.", registry=registry)
        self.resident = Gauge("errata_generation_resident_versions", "Versions in memory.", registry=registry)
        self.resident_bytes = Gauge(
            "errata_generation_resident_bytes", "Bytes that versions take in addition to the model.", registry=registry
        )
        self.ready = Gauge(
            "errata_generation_ready",
            "1 while the live version is in memory and has the digest that the ledger records, else 0.",
            registry=registry,
        )
        self.digest = Gauge(
            "errata_generation_digest_matches",
            "0 while the version that should be live is damaged or has another digest than the ledger records, else 1.",
            registry=registry,
        )
        self.gpu = Gauge(
            "errata_generation_gpu_memory_bytes", "GPU memory that this process holds, in bytes.", registry=registry
        )


class _Swaps:
    """Durations of changes of the live version, and of the stalls that they cause."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.swap = Histogram(
            "errata_generation_swap_duration_seconds",
            "Time from reading a moved pointer to serving its version.",
            registry=registry,
            buckets=SWAP_BUCKETS_SECONDS,
        )
        self.load = Histogram(
            "errata_generation_load_duration_seconds",
            "Time to load a version into memory; the rest of a swap frees memory and promotes.",
            registry=registry,
            buckets=SWAP_BUCKETS_SECONDS,
        )
        self.stall = Histogram(
            "errata_generation_swap_stall_seconds",
            "Longest time between two decode steps during a swap.",
            registry=registry,
            buckets=GAP_BUCKETS_SECONDS,
        )
        self.failures = Counter(
            "errata_generation_load_failures_total",
            "Attempts to make a version live that failed: damaged, missing, or no memory.",
            registry=registry,
        )


class GenerationMetrics:
    """The metrics of one process, created once, in the given registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "errata_generation_answers_total",
            "Answers by outcome: stop, length, gone (the client disconnected), refused, failed.",
            ("outcome",),
            registry=registry,
        )
        self._scores = Counter(
            "errata_generation_scores_total",
            "Scored targets by outcome: scored, gone (the client disconnected), refused, failed.",
            ("outcome",),
            registry=registry,
        )
        self._tokens = Counter(
            "errata_generation_tokens_total",
            "Tokens that were read (prompt) and written (completion).",
            ("kind",),
            registry=registry,
        )
        self._seconds = Histogram(
            "errata_generation_answer_duration_seconds",
            "Time from a request's arrival to its complete answer.",
            registry=registry,
            buckets=ANSWER_BUCKETS_SECONDS,
        )
        self._first = Histogram(
            "errata_generation_first_token_duration_seconds",
            "Time from a streamed request's arrival to its first piece of text.",
            registry=registry,
            buckets=ANSWER_BUCKETS_SECONDS,
        )
        self._gap = Histogram(
            "errata_generation_token_gap_seconds",
            "Time between two pieces of a stream's text.",
            registry=registry,
            buckets=GAP_BUCKETS_SECONDS,
        )
        self._swaps = _Swaps(registry)
        self._gauges = _Gauges(registry)
        self._create_labels()

    def _create_labels(self) -> None:
        for outcome in OUTCOMES:
            self._answers.labels(outcome)
        for outcome in SCORE_OUTCOMES:
            self._scores.labels(outcome)
        for kind in TOKEN_KINDS:
            self._tokens.labels(kind)

    def watch(
        self,
        counts: Callable[[], tuple[int, int]],
        num_resident: Callable[[], int],
        *,
        resident_bytes: Callable[[], int],
        is_ready: Callable[[], bool],
        gpu_bytes: Callable[[], int],
    ) -> None:
        """Set the functions that the gauges of requests, memory and readiness call at each scrape."""
        self._gauges.resident_bytes.set_function(resident_bytes)
        self._gauges.ready.set_function(lambda: float(is_ready()))
        self._gauges.gpu.set_function(gpu_bytes)
        self._gauges.running.set_function(lambda: counts()[0])
        self._gauges.waiting.set_function(lambda: counts()[1])
        self._gauges.resident.set_function(num_resident)

    def watch_pointer(
        self,
        *,
        num_behind: Callable[[], int],
        seconds_behind: Callable[[], float],
        waits_for_memory: Callable[[], bool],
        digest_matches: Callable[[], bool],
    ) -> None:
        """Set the functions that the gauges of the pointer call at each scrape."""
        self._gauges.revisions_behind.set_function(num_behind)
        self._gauges.seconds_behind.set_function(seconds_behind)
        self._gauges.waits_for_memory.set_function(lambda: float(waits_for_memory()))
        self._gauges.digest.set_function(lambda: float(digest_matches()))

    def record_answer(self, outcome: str, *, prompt_tokens: int, completion_tokens: int, seconds: float) -> None:
        """Count one complete answer."""
        self._answers.labels(outcome).inc()
        self._tokens.labels("prompt").inc(prompt_tokens)
        self._tokens.labels("completion").inc(completion_tokens)
        self._seconds.observe(seconds)

    def record_unanswered(self, outcome: str, num_prompts: int) -> None:
        """Count requests that got no answer."""
        self._answers.labels(outcome).inc(num_prompts)

    def record_scores(self, num_targets: int, *, num_tokens: int) -> None:
        """Count targets that were scored, and the tokens that were read for them."""
        self._scores.labels("scored").inc(num_targets)
        self._tokens.labels("prompt").inc(num_tokens)

    def record_unscored(self, outcome: str, num_targets: int) -> None:
        """Count targets that were not scored."""
        self._scores.labels(outcome).inc(num_targets)

    def record_first_piece(self, seconds: float) -> None:
        """Record the time from a streamed request to its first piece of text."""
        self._first.observe(seconds)

    def record_next_piece(self, seconds: float) -> None:
        """Record the time between two pieces of a stream."""
        self._gap.observe(seconds)

    def record_load_failure(self) -> None:
        """Count a version that could not be made live."""
        self._swaps.failures.inc()

    def record_load(self, seconds: float) -> None:
        """Record the duration of loading a version."""
        self._swaps.load.observe(seconds)

    def record_swap(self, *, revision: int, version: str, seconds: float, stall_seconds: float) -> None:
        """Record a change of the live version; ``stall_seconds`` is the longest time between two decode steps."""
        self._swaps.stall.observe(stall_seconds)
        self._gauges.revision.set(revision)
        self._gauges.version.set(version_number(version))
        self._swaps.swap.observe(seconds)
