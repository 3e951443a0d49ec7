"""``errata up``, ``serve``, ``worker``; ``prepare``, ``evaluate``, ``rebuild``, ``migrate``: start programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, NoReturn

import typer

from service.cli.options import (
    ClampOption,
    ConfigOption,
    CorpusOption,
    DataOption,
    DatasetOption,
    DeviceOption,
    DtypeOption,
    GuardWeightOption,
    HostOption,
    LayersOption,
    ModelOption,
    PortOption,
    PriorWeightOption,
    RedisOption,
    StatisticsOption,
    TextColumnOption,
)
from service.cli.output import stderr
from service.cli.up import run_whole
from worker.protocol.settings import child_environment, read_settings


class Role(StrEnum):
    """Which routes a service serves."""

    ALL = "all"
    API = "api"
    GENERATION = "generation"


def up(
    *,
    config: ConfigOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    host: HostOption = None,
    port: PortOption = None,
    redis: RedisOption = None,
    corpus: CorpusOption = None,
    dataset: DatasetOption = None,
    text_column: TextColumnOption = None,
    statistics: StatisticsOption = None,
    layers: LayersOption = None,
    prior_weight: PriorWeightOption = None,
    clamp: ClampOption = None,
    guard_weight: GuardWeightOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
) -> None:
    """Run Redis, service and worker together; restart what dies; Ctrl-C stops all.

    Without --redis a Redis of its own is started, which keeps its data in the data folder.
    """
    options: dict[str, object] = {
        "config": config,
        "model": model,
        "data": data,
        "host": host,
        "port": port,
        "redis_url": redis,
        "corpus": tuple(corpus) if corpus else None,
        "dataset": dataset,
        "text_column": text_column,
        "statistics": statistics,
        "layers": layers,
        "prior_weight": prior_weight,
        "clamp": clamp,
        "guard_weight": guard_weight,
        "device": device,
        "dtype": dtype,
    }
    console = stderr()
    run_whole(
        read_settings(**options),
        options=options,
        say=lambda words: console.print(f"errata: {words}", soft_wrap=True),
    )


def serve(
    *,
    role: Annotated[Role | None, typer.Option(envvar="ERRATA_ROLE", help="Routes to serve; default all.")] = None,
    config: ConfigOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    host: HostOption = None,
    port: PortOption = None,
    redis: RedisOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
) -> None:
    """Run the HTTP service alone, with a Redis that is already there."""
    _become(
        "service.serve",
        role=role.value if role else None,
        config=config,
        model=model,
        data=data,
        host=host,
        port=port,
        redis_url=redis,
        device=device,
        dtype=dtype,
    )


def worker(
    *,
    config: ConfigOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    redis: RedisOption = None,
    corpus: CorpusOption = None,
    dataset: DatasetOption = None,
    text_column: TextColumnOption = None,
    statistics: StatisticsOption = None,
    layers: LayersOption = None,
    prior_weight: PriorWeightOption = None,
    clamp: ClampOption = None,
    guard_weight: GuardWeightOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
) -> None:
    """Run one worker alone, with a Redis that is already there; start as many as there are GPUs."""
    _become(
        "worker.main",
        config=config,
        model=model,
        data=data,
        redis_url=redis,
        corpus=tuple(corpus) if corpus else None,
        dataset=dataset,
        text_column=text_column,
        statistics=statistics,
        layers=layers,
        prior_weight=prior_weight,
        clamp=clamp,
        guard_weight=guard_weight,
        device=device,
        dtype=dtype,
    )


def prepare(context: typer.Context) -> None:
    """Make a model's statistics once, from text files or a dataset: errata prepare MODEL …; its --help has the rest."""
    names = ("data", "context_seed", *_OFFLINE_TWINS)
    _run("editing_core.covariance.command", _with_twins(context.args, *names), child_environment())


def evaluate(context: typer.Context) -> None:
    """Measure a file of CounterFact records offline, before and after; its own --help has the rest."""
    names = ("model", "prior_weight", "clamp", *_OFFLINE_TWINS)
    _run("editing_core.measuring.evaluate", _with_twins(context.args, *names), child_environment())


def run_export(version: str, options: Mapping[str, object]) -> NoReturn:
    """Become the process that exports from the store's files; what is not given it has from the environment."""
    settings = read_settings(**{name: options[name] for name in ("data", "model", "device")})
    known = {**options, "data": settings.data, "device": settings.device}
    if "model" not in settings.model_fields_set:  # the store knows which it belongs to
        known["model"] = None
    arguments = [part for name, value in known.items() if value is not None for part in (_option(name), str(value))]
    _run("editing_core.export", [*arguments, "--", version], child_environment())


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def rebuild(context: typer.Context) -> None:
    """Make a version anew from original model, edits and z, into an empty folder; its --help has the rest.

    Same digest on the same kind of machine; --layers, --prior-weight, --clamp and --guard-weight change the settings.
    """
    _run("editing_core.remaking.rebuild", _of_a_store(context.args), child_environment())


def migrate(context: typer.Context) -> None:
    """Solve a version's edits on another model, into an empty folder, and report which took; see its --help."""
    _run("editing_core.remaking.migrate", _of_a_store(context.args), child_environment())


_OFFLINE_TWINS = ("layers", "device", "dtype", "corpus", "dataset", "text_column", "statistics", "tokens")


_LIMITS = (
    "min_reliability",
    "min_specificity",
    "min_earlier_kept",
    "max_drift",
    "max_perplexity_rise",
    "max_delta_norm",
    "max_delta_per_edit",
)


def _of_a_store(arguments: Sequence[str]) -> list[str]:
    """The options of what reads one store and writes another, with what the environment says of the first."""
    settings = read_settings()
    limits = json.dumps({name: getattr(settings, name) for name in _LIMITS})
    seed = ["--context-seed", str(settings.context_seed)] if settings.context_seed else []
    twins = _with_twins(arguments, "prior_weight", "clamp", "guard_weight", "num_threads", *_OFFLINE_TWINS)
    return ["--from", str(settings.data), "--limits", limits, *seed, *twins]


def _with_twins(arguments: Sequence[str], *names: str) -> list[str]:
    """Options from the environment before those of the command line, which win; the programs read no environment."""
    settings = read_settings()
    twins: list[str] = []
    names_text = any(argument.startswith(("--corp", "--datas")) for argument in arguments)
    for name in names:
        value = getattr(settings, name)
        if name in {"corpus", "dataset"} and names_text:  # either replaces both
            continue
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None:
                twins += [f"--{name.replace('_', '-')}", str(item)]
    return [*twins, *arguments]


def _become(module: str, **options: object) -> NoReturn:
    read_settings(**options)  # a wrong one is told before anything starts
    _run(module, (), child_environment(**options))


def _run(module: str, arguments: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """Become the process, so that its signals and its exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)  # noqa: S606
