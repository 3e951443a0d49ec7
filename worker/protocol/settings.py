"""Every setting of every process, in one class, so that all processes of an installation agree.

Read in one place: from a file (``ERRATA_CONFIG``), over it from the environment (``ERRATA_…``, ``REDIS_URL``), over
both from options of the command line. Knows no meaning beyond type and range.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from editing_core.errors import InvalidSettings
from worker.protocol.configuration.effective import Effective, Source, effective
from worker.protocol.configuration.file import read_file
from worker.protocol.configuration.names import explain, twin

Share = Annotated[float, Field(ge=0.0, le=1.0)]
MOST_SECONDS = 10 * 366 * 24 * 3600
"""Ten years: what is longer was not meant, and some clocks overflow."""
Seconds = Annotated[float, Field(le=MOST_SECONDS)]
MOST_THREADS = 1024
"""More than any machine has cores: a slip of the pen would end in an error of the system's."""


class Settings(BaseSettings):
    """All settings; a field ``name`` is read from ``ERRATA_NAME``."""

    model_config = SettingsConfigDict(
        env_prefix="ERRATA_", extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    config: Path | None = Field(None, description="TOML file of settings; each variable wins over its line there")

    # What is served, and where its files are.
    model: str = Field("demo-gptj", description="Hugging Face id, folder, demo-gptj or demo-gptneox")
    data: Path = Field(Path("var"), description="folder of the version store, model artefacts and embedded Redis")
    redis_url: str | None = Field(None, validation_alias="REDIS_URL", description="Redis to use; none: one is started")
    accept_unsafe_redis: bool = Field(False, description="start with a Redis that may lose accepted batches")
    corpus: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="text files, ':' between; none: the demo's own"
    )
    dataset: str | None = Field(
        None, description="Hugging Face dataset as text instead, NAME[:CONFIG][@SPLIT], or a folder of one"
    )
    text_column: str = Field("text", description="column of the dataset that holds the text")
    statistics: Path | None = Field(
        None, description="folder of published .npz second moments; none: made from the text"
    )
    device: str | None = Field(
        None, description="torch device; none: cuda if there, else cpu; auto: spread over all CUDA devices"
    )
    generation_device: str | None = Field(
        None, description="torch device of generation, where it is not the worker's; none: ERRATA_DEVICE"
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="none: the checkpoint's on CUDA, float32 on CPU"
    )
    num_threads: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="torch threads of each process; none: torch's default, and one for answers of a model below 64 MiB",
    )

    # What is made once per model (`errata prepare`).
    tokens: int | None = Field(None, ge=1, description="tokens for the covariances; none: 10 · d_ff, at least 120,000")
    context_seed: int = Field(0, ge=0, lt=2**63, description="seed of the context templates")

    # How edits are solved; none: the model's preset.
    layers: str | None = Field(None, description="edited layers, as 3-8 or 1,2,3,4")
    prior_weight: float | None = Field(None, gt=0, description="λ, weight of old associations against new ones")
    clamp: float | None = Field(None, gt=0, description="largest ‖δ‖ as a share of ‖h‖ at the look-up token")
    guard_weight: float | None = Field(None, gt=0, description="weight of a held key in the solve; an edit's is 1")

    # HTTP.
    host: str = Field("127.0.0.1", description="address that HTTP listens on")
    port: int = Field(8000, ge=0, le=65535, description="port that HTTP listens on; 0: any free one")
    role: Literal["all", "api", "generation"] = Field("all", description="which routes this process serves")
    stop_seconds: Seconds = Field(8.0, ge=0, description="how long running answers may take to end after SIGTERM")
    max_edits: int = Field(10_000, ge=1, description="edits in one batch")
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="size of a request's body")
    max_open_batches: int = Field(1_000, ge=1, description="batches without a final state; more are refused (429)")
    max_wait_seconds: Seconds = Field(300.0, ge=0, description="largest ?wait= of POST /edits")

    # The queue and its workers.
    shard_size: int = Field(64, ge=1, description="edits in one job")
    lease_seconds: Seconds = Field(10.0, gt=0, description="how long a silent worker keeps its work")
    reconcile_seconds: Seconds = Field(10.0, gt=0, description="pause between two looks for forgotten work")
    job_timeout_seconds: int = Field(6 * 3600, ge=60, le=MOST_SECONDS, description="longest single job")
    max_attempts: int = Field(3, ge=1, description="starts of one unit of work before it is failed")
    culprit_tries: int = Field(
        40, ge=0, description="sets tested to find which edits of a failed batch are to blame; 0: none are sought"
    )
    worker_threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="torch threads of a worker; none: ERRATA_NUM_THREADS"
    )
    worker_niceness: int = Field(
        10, ge=0, le=19, description="how far a worker stands back for answers on the same cores"
    )
    worker_memory_share: float | None = Field(
        None, gt=0, le=1, description="share of a CUDA device's memory that a worker takes at most; none: all"
    )
    worker_metrics_port: int | None = Field(
        None, ge=1, le=65535, description="port of the worker's own /metrics; none: they are not exposed"
    )
    keep_versions: int = Field(5, ge=1, description="latest versions that are kept; the live one always is")
    candidate_seconds: Seconds = Field(7 * 24 * 3600.0, gt=0, description="how long a candidate waits to be promoted")

    # Generation.
    num_places: int = Field(16, ge=1, le=4096, description="requests decoded together, per version")
    max_new_tokens: int = Field(1024, ge=1, description="largest max_new_tokens of a request")
    max_waiting: int = Field(256, ge=1, description="requests waiting for a place; more are refused (429)")
    prefill_tokens: int = Field(
        128,
        ge=1,
        description="tokens of prompts read between two steps of running answers: what these wait for at most",
    )
    max_answer_seconds: Seconds = Field(300.0, gt=0, description="longest time from a request to its whole answer")
    resident_bytes: int | None = Field(
        None, ge=0, description="memory for the matrices of versions; none: what the device has free"
    )
    resident_versions: int = Field(4, ge=1, description="versions held in memory, the live one counted")
    pointer_poll_seconds: Seconds = Field(0.1, gt=0, description="pause between two looks at the pointer")
    min_version_wait_seconds: Seconds = Field(10.0, ge=0, description="longest wait for min_version")

    # Limits of the checks.
    min_reliability: Share = Field(0.7, description="share of new edits that must hold")
    min_specificity: Share = Field(0.8, description="share of neighbours that must keep their answer")
    min_earlier_kept: Share = Field(0.9, description="share of earlier edits that must still hold")
    min_guards_kept: Share = Field(0.95, description="share of guards that must keep their answer")
    max_drift: float = Field(0.5, gt=0, description="mean KL divergence on the probe set, in nats")
    max_perplexity_rise: float = Field(0.10, gt=0, description="rise of perplexity on held-out text, as a share")
    max_delta_norm: float = Field(15.0, gt=0, description="largest ‖Δ‖/‖W‖ of one layer")
    max_delta_per_edit: float = Field(
        0.72, gt=0, description="the same over the square root of the number of live edits"
    )

    # Clients of the service: the other commands of ``errata``.
    url: str | None = Field(None, description="service that commands talk to; none: at host and port")
    api_key: SecretStr | None = Field(None, description="key that commands send")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else json")

    @field_validator("corpus", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(":") if part)
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if found := list(_contradictions(self)):
            raise ValueError("; ".join(found))
        return self


def _contradictions(settings: Settings) -> Iterator[str]:
    """Settings that are valid alone but contradict each other: one sentence each, with the way out."""
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


def variables() -> dict[str, str]:
    """Every setting's environment variable, by the setting's name."""
    return {name: twin(name) for name in Settings.model_fields}


def known_environment() -> set[str]:
    """Names of all environment variables that are read."""
    return set(variables().values())


def read_settings(**options: object) -> Settings:
    """Settings from file and environment, with ``options`` (those that are not None) winning.

    Raises InvalidSettings for an unknown ``ERRATA_…`` variable or line of the file, for a value of the wrong type or
    range, and for settings that contradict each other.
    """
    return _read(_given(options))[0]


def explained_settings(**options: object) -> list[Effective]:
    """Every setting in force with its source, secrets hidden. Raises as ``read_settings``."""
    given = _given(options)
    settings, from_file = _read(given)
    from_environment = {name for name, variable in variables().items() if variable in os.environ}
    by = {Source.OPTION: given, Source.ENVIRONMENT: from_environment, Source.FILE: from_file}
    values = {name: getattr(settings, name) for name in variables()}
    return effective(values, variables(), by=by)


def _given(options: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}


def _read(given: dict[str, object]) -> tuple[Settings, dict[str, object]]:
    """The settings, and what the file gave of them."""
    unknown = sorted(name for name in os.environ if name.startswith("ERRATA_") and name not in known_environment())
    if unknown:
        raise InvalidSettings(
            f"unknown environment variable {unknown[0]}: `errata config` and the README list those that are read"
        )
    path = given.get("config", os.environ.get("ERRATA_CONFIG"))
    names = Settings.model_fields.keys() - {"config"}
    content = read_file(Path(str(path)), names) if path else {}
    from_file = {name: value for name, value in content.items() if twin(name) not in os.environ and name not in given}
    try:
        return Settings(**{**from_file, **given}), from_file  # type: ignore[arg-type]
    except ValidationError as error:
        told = "; ".join(explain(item, from_file=from_file) for item in error.errors())
        raise InvalidSettings(f"{path}: {told}" if from_file else told) from None


def child_environment(**options: object) -> dict[str, str]:
    """The environment for a child process: this one and the twins of ``options``, those that are not None.

    Service and worker share the cores, so torch's idle threads are told to sleep and not to spin.
    """
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        **{twin(name): _as_text(value) for name, value in options.items() if value is not None},
    }


def fresh_environment(**options: object) -> dict[str, str]:
    """The same with no setting of this process's environment: for an Errata of one's own that disturbs no other."""
    unwanted = known_environment() - {twin(name) for name, value in options.items() if value is not None}
    return {name: value for name, value in child_environment(**options).items() if name not in unwanted}


def _as_text(value: object) -> str:
    return ":".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
