"""``errata config``: the settings in force, and where each comes from. Starts nothing and asks nobody."""

from __future__ import annotations

from dataclasses import asdict

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
    JsonOption,
    LayersOption,
    ModelOption,
    PortOption,
    PriorWeightOption,
    RedisOption,
    StatisticsOption,
    TextColumnOption,
)
from service.cli.output import print_json, stdout, table
from worker.protocol.settings import explained_settings


def config(
    context: typer.Context,
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
    as_json: JsonOption = False,
) -> None:
    """Print every setting with its value and its source: default, file, environment or option; secrets are hidden.

    With the options of `errata up`, what that would run with. Wrong or contradictory settings are refused as there.
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
    found = explained_settings(**{name: value for name, value in options.items() if _is_typed(context, name)})
    if as_json:
        print_json([asdict(row) for row in found])
        return
    rows = [(row.variable, "" if row.value is None else row.value, row.source.value) for row in found]
    stdout().print(table(("setting", "value", "source"), rows))


def _is_typed(context: typer.Context, name: str) -> bool:
    """Whether the command line gave the option; its environment twin is read with all the others."""
    source = context.get_parameter_source(name.removesuffix("_url"))
    return source is not None and source.name == "COMMANDLINE"
