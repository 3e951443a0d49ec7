"""The settings of all processes in one class. The processes of an installation therefore agree.

The environment (``ERRATA_…``, ``REDIS_URL``) overrides the settings file (``ERRATA_CONFIG``), and command-line options
override both. Only types, ranges and contradictions are checked here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from editing_core.checks.limits import CheckLimits
from editing_core.errors import InvalidSettings
from worker.protocol.configuration.effective import Effective, Source, effective
from worker.protocol.configuration.file import read_file
from worker.protocol.configuration.names import explain, variable_of

_T = TypeVar("_T")
_BASIC = "basic"
Basic = Annotated[_T, _BASIC]
"""A setting that operators usually set. All others are advanced."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]
MOST_SECONDS = 10 * 366 * 24 * 3600
"""Ten years. Longer times are mistakes and overflow some clocks."""
Seconds = Annotated[float, Field(le=MOST_SECONDS)]
MOST_THREADS = 1024
"""More than the cores of any machine. The limit catches typing errors before the operating system fails."""
_LIMITS = CheckLimits()


class Settings(BaseSettings):
    """All settings; a field ``name`` is read from ``ERRATA_NAME``."""

    model_config = SettingsConfigDict(
        env_prefix="ERRATA_", extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    config: Basic[Path | None] = Field(
        None, description="TOML file with settings. An environment variable overrides its line in the file"
    )

    # The served model and its files.
    model: Basic[str] = Field(
        "demo-gptj", description="Hugging Face id or folder of the model, demo-gptj or demo-gptneox"
    )
    data: Basic[Path] = Field(
        Path("var"), description="Folder for the version store, the model's artefacts and the embedded Redis"
    )
    redis_url: Basic[str | None] = Field(
        None,
        validation_alias="REDIS_URL",
        description="Redis to use, as redis://host:port/0. If not set, `errata up` starts its own",
    )
    accept_unsafe_redis: bool = Field(
        False, description="Start even if the Redis is configured such that it may lose accepted batches"
    )
    redis_password_file: Path | None = Field(
        None, description="File with the password of the user that REDIS_URL names"
    )
    redis_ca_file: Path | None = Field(
        None, description="Certificates that may sign the certificate of Redis (rediss://). If not set, the system's"
    )
    redis_certificate_file: Path | None = Field(None, description="Certificate that this process shows to Redis")
    redis_certificate_key_file: Path | None = Field(None, description="Private key of that certificate")
    accept_open_redis: bool = Field(
        False, description="Start even if a Redis on another machine answers without a password"
    )
    corpus: Basic[Annotated[tuple[Path, ...], NoDecode]] = Field(
        (),
        description="Text files for covariances, probes and perplexity, separated by ':' in the environment. "
        "The demo models have their own",
    )
    dataset: Basic[str | None] = Field(
        None,
        description="Hugging Face dataset to read instead of text files, as NAME, NAME:CONFIG or NAME@SPLIT, "
        "or a folder with a dataset",
    )
    text_column: str = Field("text", description="Column of the dataset that holds the text")
    statistics: Path | None = Field(
        None, description="Folder of published .npz second moments. If not set, covariances are computed from the text"
    )
    device: Basic[str | None] = Field(
        None,
        description="Torch device; auto spreads the model over all CUDA devices. If not set, cuda if there is one, "
        "else cpu",
    )
    generation_device: Basic[str | None] = Field(
        None, description="Torch device for generation. If not set, ERRATA_DEVICE"
    )
    dtype: Basic[Literal["float32", "bfloat16", "float16"] | None] = Field(
        None, description="Dtype of the model. If not set, the checkpoint's on CUDA and float32 on CPU"
    )
    num_threads: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="Torch threads per process. If not set, torch's default; generation with a model below 64 MiB uses "
        "one",
    )

    # Computed once per model (`errata prepare`).
    tokens: int | None = Field(
        None, ge=1, description="Number of tokens for the covariances. If not set, 10 · d_ff and at least 120,000"
    )
    context_seed: int = Field(0, ge=0, lt=2**63, description="Seed of the context templates")

    # The solve. Unset values come from the model's preset.
    layers: str | None = Field(None, description="Edited layers, as 3-8 or 1,2,3,4. If not set, the model's preset")
    prior_weight: float | None = Field(
        None, gt=0, description="λ, the weight of old associations against new ones. If not set, the model's preset"
    )
    clamp: float | None = Field(
        None,
        gt=0,
        description="Largest ‖δ‖ as a share of ‖h‖ at the subject's last token. If not set, the model's preset",
    )
    guard_weight: float | None = Field(
        None, gt=0, description="Weight of a guard's key in the solve; an edit's key has 1. If not set, 0.05"
    )

    # HTTP.
    host: Basic[str] = Field("127.0.0.1", description="Address that the HTTP service listens on")
    port: Basic[int] = Field(
        8000, ge=0, le=65535, description="Port that the HTTP service listens on; 0 picks a free port"
    )
    role: Basic[Literal["all", "api", "generation"]] = Field("all", description="Routes that this process serves")
    console: bool = Field(True, description="Serve the web console at /console")
    grafana_url: str | None = Field(
        None, pattern=r"^https?://", description="Address of Grafana, which the console links to"
    )
    stop_seconds: Seconds = Field(8.0, ge=0, description="Time that running answers get to finish after SIGTERM")
    max_edits: Basic[int] = Field(10_000, ge=1, description="Largest number of edits in a batch")
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="Largest request body")
    max_open_batches: int = Field(
        1_000, ge=1, description="Largest number of batches without a final state. Further batches are refused (429)"
    )
    max_wait_seconds: Seconds = Field(300.0, ge=0, description="Largest value of ?wait= in POST /edits")

    signing_key_file: Path | None = Field(
        None,
        description="File with a secret key that signs backups and the copy of the audit. If set, `errata restore` and "
        "`errata audit --verify --file` refuse what this key has not signed",
    )

    # The queue and its workers.
    shard_size: int = Field(64, ge=1, description="Number of edits in one job")
    lease_seconds: Seconds = Field(10.0, gt=0, description="Time after which the work of a silent worker is given away")
    reconcile_seconds: Seconds = Field(10.0, gt=0, description="Interval between two searches for abandoned work")
    job_timeout_seconds: int = Field(6 * 3600, ge=60, le=MOST_SECONDS, description="Longest time for one job")
    max_attempts: int = Field(3, ge=1, description="Number of attempts before a job or a commit fails")
    culprit_tries: int = Field(
        40, ge=0, description="Number of edit sets that are tested to find the edits that break a failed batch; 0: none"
    )
    worker_threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="Torch threads of a worker. If not set, ERRATA_NUM_THREADS"
    )
    worker_niceness: int = Field(
        10, ge=0, le=19, description="Niceness of a worker's process: higher values leave more CPU time to generation"
    )
    worker_memory_share: float | None = Field(
        None, gt=0, le=1, description="Largest share of a CUDA device's memory for a worker. If not set, all of it"
    )
    worker_metrics_port: Basic[int | None] = Field(
        None, ge=1, le=65535, description="Port of the worker's own /metrics. If not set, the worker exposes none"
    )
    keep_versions: Basic[int] = Field(
        5, ge=1, description="Number of latest versions to keep. The live version is always kept"
    )
    candidate_seconds: Seconds = Field(
        7 * 24 * 3600.0, gt=0, description="Time after which a candidate that nobody promotes is discarded"
    )

    # Generation.
    num_places: Basic[int] = Field(
        16, ge=1, le=4096, description="Number of requests that are decoded together, per version"
    )
    max_new_tokens: Basic[int] = Field(1024, ge=1, description="Largest max_new_tokens of a request")
    max_waiting: int = Field(
        256, ge=1, description="Number of requests that may wait to be decoded. Further requests are refused (429)"
    )
    prefill_tokens: int = Field(
        128, ge=1, description="Largest number of prompt tokens that are read between two steps of running answers"
    )
    max_answer_seconds: Basic[Seconds] = Field(
        300.0, gt=0, description="Longest time from a request to the end of its answer"
    )
    resident_bytes: int | None = Field(
        None, ge=0, description="Memory for the matrices of versions. If not set, the free memory of the device"
    )
    resident_versions: int = Field(
        4, ge=1, description="Largest number of versions held in memory, including the live version"
    )
    pointer_poll_seconds: Seconds = Field(0.1, gt=0, description="Interval between two checks for a new live version")
    promotion_wait_seconds: Seconds = Field(
        5.0, ge=0, le=60, description="Longest time that a promotion waits until every ready replica serves it"
    )
    min_version_wait_seconds: Seconds = Field(
        10.0, ge=0, description="Longest time that a request waits for min_version"
    )

    # Limits of the checks.
    min_reliability: Share = Field(_LIMITS.min_reliability, description="Smallest share of new edits that must succeed")
    min_specificity: Share = Field(
        _LIMITS.min_specificity, description="Smallest share of neighbours that must keep their answer"
    )
    min_earlier_kept: Share = Field(
        _LIMITS.min_earlier_kept, description="Smallest share of earlier edits that must still hold"
    )
    min_guards_kept: Share = Field(
        _LIMITS.min_guards_kept, description="Smallest share of guards that must keep their answer"
    )
    max_drift: float = Field(
        _LIMITS.max_drift, gt=0, description="Largest mean KL divergence on the probe set, in nats"
    )
    max_perplexity_rise: float = Field(
        _LIMITS.max_perplexity_rise, gt=0, description="Largest rise of the perplexity on held-out text, as a share"
    )
    max_delta_norm: float = Field(_LIMITS.max_delta_norm, gt=0, description="Largest ‖Δ‖/‖W‖ of one layer")
    max_delta_per_edit: float = Field(
        _LIMITS.max_delta_per_edit,
        gt=0,
        description="Largest ‖Δ‖/‖W‖ of one layer, divided by the square root of the number of live edits",
    )

    # Clients of the service: the other commands of ``errata``.
    url: Basic[str | None] = Field(
        None, description="Address of the service that commands talk to. If not set, ERRATA_HOST and ERRATA_PORT"
    )
    api_key: Basic[SecretStr | None] = Field(None, description="API key that commands send")

    log_level: Basic[Literal["debug", "info", "warning", "error"]] = Field(
        "info", description="Lowest level that is logged"
    )
    log_format: Basic[Literal["auto", "json", "text"]] = Field(
        "auto", description="Format of the log; auto is text on a terminal and json elsewhere"
    )

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
    """Yield one sentence, with the next step, for each contradiction between settings that are valid alone."""
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
    if settings.redis_password_file is not None and settings.redis_url is None:
        yield "ERRATA_REDIS_PASSWORD_FILE is given without REDIS_URL, whose password it holds: give both or neither"
    if (settings.redis_certificate_file is None) != (settings.redis_certificate_key_file is None):
        yield "ERRATA_REDIS_CERTIFICATE_FILE and ERRATA_REDIS_CERTIFICATE_KEY_FILE belong together: give both"
    if settings.role == "api" and settings.generation_device is not None:
        yield "ERRATA_GENERATION_DEVICE is given and ERRATA_ROLE is api, which holds no model: leave the device out"


def variables() -> dict[str, str]:
    """Return the environment variable of every setting by the setting's name."""
    return {name: variable_of(name) for name in Settings.model_fields}


def is_basic(name: str) -> bool:
    """Whether operators usually set this setting."""
    return _BASIC in Settings.model_fields[name].metadata


def known_environment() -> set[str]:
    """Return the names of all environment variables that are read."""
    return set(variables().values())


def read_settings(**options: object) -> Settings:
    """Return the settings from file and environment, overridden by ``options`` that are not None.

    Raises InvalidSettings for an unknown ``ERRATA_…`` variable or line of the file, for a value of the wrong type or
    range, and for contradictory settings.
    """
    return _read(_given(options))[0]


def explained_settings(**options: object) -> list[Effective]:
    """Return every setting in force with its source. Secrets are hidden. Raises like ``read_settings``."""
    given = _given(options)
    settings, from_file = _read(given)
    from_environment = {name for name, variable in variables().items() if variable in os.environ}
    by = {Source.OPTION: given, Source.ENVIRONMENT: from_environment, Source.FILE: from_file}
    values = {name: getattr(settings, name) for name in variables()}
    return effective(values, variables(), by=by)


def _given(options: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}


def _read(given: dict[str, object]) -> tuple[Settings, dict[str, object]]:
    """Return the settings, and the values from the settings file."""
    unknown = sorted(name for name in os.environ if name.startswith("ERRATA_") and name not in known_environment())
    if unknown:
        raise InvalidSettings(
            f"unknown environment variable {unknown[0]}: `errata config` and docs/settings.md list the known ones"
        )
    path = given.get("config", os.environ.get("ERRATA_CONFIG"))
    names = Settings.model_fields.keys() - {"config"}
    content = read_file(Path(str(path)), names) if path else {}
    from_file = {
        name: value for name, value in content.items() if variable_of(name) not in os.environ and name not in given
    }
    try:
        return Settings(**{**from_file, **given}), from_file  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(explain(item, from_file=from_file) for item in error.errors())
        raise InvalidSettings(f"{path}: {faults}" if from_file else faults) from None


def child_environment(**options: object) -> dict[str, str]:
    """Return the environment of a child process: the current environment plus the variables of ``options``.

    Idle threads of torch sleep instead of spin, because service and worker share the cores.
    """
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        **{variable_of(name): _as_text(value) for name, value in options.items() if value is not None},
    }


def fresh_environment(**options: object) -> dict[str, str]:
    """Return the same as ``child_environment``, without the settings in the environment of this process."""
    unwanted = known_environment() - {variable_of(name) for name, value in options.items() if value is not None}
    return {name: value for name, value in child_environment(**options).items() if name not in unwanted}


def _as_text(value: object) -> str:
    return ":".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
