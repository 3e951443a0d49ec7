"""``errata up``, ``serve``, ``worker``, ``prepare``, ``evaluate``, ``rebuild`` and ``migrate``: start programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NoReturn

import typer

from editing_core.checks.limits import CheckLimits
from editing_core.command_line import MACHINE_OPTIONS, SOLVE_OPTIONS, TEXT_OPTIONS
from service.cli.options import LISTEN_SETTINGS, PROCESS_SETTINGS, SOLVE_SETTINGS, takes_settings
from service.cli.output import stderr
from service.cli.up import run_whole
from worker.protocol.settings import child_environment, read_settings


@takes_settings(*PROCESS_SETTINGS, *LISTEN_SETTINGS, *SOLVE_SETTINGS)
def up(options: dict[str, object]) -> None:
    """Run Redis, the HTTP service and a worker together. Restarts processes that die; Ctrl-C stops all of them.

    Without --redis, a Redis of its own is started, which keeps its files in the data folder.
    """
    console = stderr()
    run_whole(
        read_settings(**options),
        options=options,
        say=lambda words: console.print(f"errata: {words}", soft_wrap=True),
    )


@takes_settings("role", *PROCESS_SETTINGS, *LISTEN_SETTINGS)
def serve(options: dict[str, object]) -> None:
    """Run the HTTP service alone, with a Redis that is running already."""
    _become("service.serve", options)


@takes_settings(*PROCESS_SETTINGS, *SOLVE_SETTINGS)
def worker(options: dict[str, object]) -> None:
    """Run one worker alone, with a Redis that is running already. Start one worker per GPU."""
    _become("worker.main", options)


def prepare(context: typer.Context) -> None:
    """Compute a model's statistics once, from text files or a dataset. See errata prepare --help."""
    names = ("data", "context_seed", "layers", *TEXT_OPTIONS, *MACHINE_OPTIONS)
    _run("editing_core.covariance.command", _with_settings(context.args, *names), child_environment())


def evaluate(context: typer.Context) -> None:
    """Evaluate a model offline before and after the edits of a CounterFact file. See errata evaluate --help."""
    names = ("model", *SOLVE_OPTIONS, *TEXT_OPTIONS, *MACHINE_OPTIONS)
    _run("editing_core.measuring.evaluate", _with_settings(context.args, *names), child_environment())


def run_export(version: str, options: Mapping[str, object]) -> NoReturn:
    """Replace this process by the export from the store's files. Options that are None come from the environment."""
    settings = read_settings(**{name: options[name] for name in ("data", "model", "device")})
    known = {**options, "data": settings.data, "device": settings.device}
    if "model" not in settings.model_fields_set:  # the store records its model
        known["model"] = None
    arguments = [part for name, value in known.items() if value is not None for part in (_option(name), str(value))]
    _run("editing_core.export", [*arguments, "--", version], child_environment())


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def rebuild(context: typer.Context) -> None:
    """Solve a version again from the original model, its edits and z, into an empty folder.

    The digest is the same on the same kind of machine. You can change the settings of the solve. See errata rebuild
    --help.
    """
    _run("editing_core.remaking.rebuild", _of_a_store(context.args), child_environment())


def migrate(context: typer.Context) -> None:
    """Solve a version's edits on another model, into an empty folder. See errata migrate --help."""
    _run("editing_core.remaking.migrate", _of_a_store(context.args), child_environment())


def _of_a_store(arguments: Sequence[str]) -> list[str]:
    """Return the options of programs that read one store and write another; the settings describe the first store."""
    settings = read_settings()
    limits = json.dumps(asdict(CheckLimits.read(settings)))
    seed = ["--context-seed", str(settings.context_seed)] if settings.context_seed else []
    given = _with_settings(arguments, "num_threads", *SOLVE_OPTIONS, *TEXT_OPTIONS, *MACHINE_OPTIONS)
    return ["--from", str(settings.data), "--limits", limits, *seed, *given]


def _with_settings(arguments: Sequence[str], *names: str) -> list[str]:
    """Put options from the environment before the options of the command line, which override them."""
    settings = read_settings()
    given: list[str] = []
    names_text = any(argument.startswith(("--corp", "--datas")) for argument in arguments)
    for name in names:
        value = getattr(settings, name)
        if name in {"corpus", "dataset"} and names_text:  # either of them replaces both
            continue
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None:
                given += [f"--{name.replace('_', '-')}", str(item)]
    return [*given, *arguments]


def _become(module: str, options: Mapping[str, object]) -> NoReturn:
    read_settings(**options)  # refuse wrong options before anything starts
    _run(module, (), child_environment(**options))


def _run(module: str, arguments: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """Replace this process by the module, which then receives the signals and sets the exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)  # noqa: S606
