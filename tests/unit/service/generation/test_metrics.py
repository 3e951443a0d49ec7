"""Every label value of generation's figures is there at 0 from the start."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from service.generation.metrics import OUTCOMES, SCORE_OUTCOMES, TOKEN_KINDS, GenerationMetrics


def test_every_label_value_is_there_at_zero_from_the_start() -> None:
    registry = CollectorRegistry()
    GenerationMetrics(registry)
    answers = {registry.get_sample_value("errata_generation_answers_total", {"outcome": name}) for name in OUTCOMES}
    tokens = {registry.get_sample_value("errata_generation_tokens_total", {"kind": name}) for name in TOKEN_KINDS}
    scores = {registry.get_sample_value("errata_generation_scores_total", {"outcome": o}) for o in SCORE_OUTCOMES}
    assert answers == tokens == scores == {0.0}


def test_a_promotion_reports_its_time_and_its_stall() -> None:
    registry = CollectorRegistry()
    metrics = GenerationMetrics(registry)
    metrics.record_load(0.5)
    metrics.record_swap(revision=3, version="v12", seconds=0.75, stall_seconds=0.02)
    assert registry.get_sample_value("errata_generation_version_number") == 12.0
    assert registry.get_sample_value("errata_generation_load_duration_seconds_sum") == 0.5
    assert registry.get_sample_value("errata_generation_swap_duration_seconds_sum") == 0.75
    assert registry.get_sample_value("errata_generation_swap_stall_seconds_sum") == 0.02
