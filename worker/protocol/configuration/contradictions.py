"""Settings that are right one by one and cannot be meant together. Knows no source and raises nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.protocol.settings import Settings


def contradictions(settings: Settings) -> Iterator[str]:
    """Each contradiction, with the way out."""
    given = settings.model_fields_set
    if settings.corpus and settings.dataset is not None:
        yield "ERRATA_CORPUS and ERRATA_DATASET both name the text: give one of them"
    if "text_column" in given and settings.text_column != "text" and settings.dataset is None:
        yield "ERRATA_TEXT_COLUMN is given without ERRATA_DATASET, whose column it names: give both or neither"
    if settings.worker_metrics_port is not None and settings.worker_metrics_port == settings.port:
        yield f"ERRATA_PORT and ERRATA_WORKER_METRICS_PORT are both {settings.port}: give the worker another port"
    if settings.job_timeout_seconds <= settings.lease_seconds:
        yield (
            f"ERRATA_JOB_TIMEOUT_SECONDS ({settings.job_timeout_seconds:g}) must be longer than ERRATA_LEASE_SECONDS "
            f"({settings.lease_seconds:g}): a job would end before its worker is missed"
        )
    if settings.role == "api" and settings.generation_device is not None:
        yield "ERRATA_GENERATION_DEVICE is given and ERRATA_ROLE is api, which holds no model: leave the device out"
