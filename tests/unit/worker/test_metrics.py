"""Every label value of the worker's figures is there at 0 from the start; what is counted arrives under its name."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from worker.metrics import KINDS, OUTCOMES, REASONS, Metrics
from worker.protocol.ledger.batches import STAGES


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_every_label_value_is_there_at_zero_from_the_start() -> None:
    registry = Metrics().registry
    assert {_value(registry, "errata_worker_stage_seconds_count", stage=stage) for stage in STAGES} == {0.0}
    assert {_value(registry, "errata_worker_edits_total", outcome=outcome) for outcome in OUTCOMES} == {0.0}
    assert {_value(registry, "errata_worker_rejections_total", reason=reason) for reason in REASONS} == {0.0}
    assert {_value(registry, "errata_worker_rejected_edits_total", reason=reason) for reason in REASONS} == {0.0}
    assert {_value(registry, "errata_store_bytes", kind=kind) for kind in KINDS} == {0.0}


def test_a_rejected_batch_is_counted_with_its_edits_and_an_unknown_reason_adds_no_label() -> None:
    metrics = Metrics()
    metrics.count_rejection("reliability", 7)
    metrics.count_rejection("the moon", 2)
    assert _value(metrics.registry, "errata_worker_rejections_total", reason="reliability") == 1.0
    assert _value(metrics.registry, "errata_worker_rejected_edits_total", reason="reliability") == 7.0
    assert _value(metrics.registry, "errata_worker_rejected_edits_total", reason="other") == 2.0
    assert _value(metrics.registry, "errata_worker_rejected_edits_total", reason="the moon") is None


def test_searches_are_counted_by_edits_and_by_steps() -> None:
    metrics = Metrics()
    metrics.count_targets(3, 20)
    metrics.count_targets(1, 0)
    assert _value(metrics.registry, "errata_worker_targets_total") == 4.0
    assert _value(metrics.registry, "errata_worker_z_steps_total") == 20.0


def test_a_process_that_has_no_gpu_holds_none_of_its_memory() -> None:
    metrics = Metrics()
    assert _value(metrics.registry, "errata_worker_gpu_memory_bytes") == 0.0
    metrics.watch(lambda: 5.0, gpu_bytes=lambda: 1024)
    assert _value(metrics.registry, "errata_worker_gpu_memory_bytes") == 1024.0
    assert _value(metrics.registry, "errata_worker_ready") == 1.0
