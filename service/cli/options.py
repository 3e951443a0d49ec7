"""Options that commands share.

Options for settings are derived from the settings, so each has one name and one help text.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from editing_core.command_line import SOLVE_OPTIONS, TEXT_OPTIONS
from service.client.client import Client
from worker.protocol.configuration.effective import as_text
from worker.protocol.configuration.names import flag, variable_of
from worker.protocol.settings import Settings, read_settings

_CONNECTING = "Connection"
_PANELS = {
    "url": _CONNECTING,
    "api_key": _CONNECTING,
    **dict.fromkeys((*TEXT_OPTIONS, *SOLVE_OPTIONS, "context_seed"), "How edits are solved"),
}
"""Heading of each setting's option in the help of a command. Other options are under "Process"."""


def _option(name: str) -> Any:
    """Return the option for a setting, with the setting's description and default."""
    field = Settings.model_fields[name]
    default = as_text(field.default)
    return typer.Option(
        flag(name),
        envvar=variable_of(name),
        help=f"{field.description}.{'' if default is None else f' Default: {default}.'}",
        rich_help_panel=_PANELS.get(name, "Process"),
    )


UrlOption = Annotated[str | None, _option("url")]
KeyOption = Annotated[str | None, _option("api_key")]
DataOption = Annotated[Path | None, _option("data")]
RedisOption = Annotated[str | None, _option("redis_url")]
DeviceOption = Annotated[str | None, _option("device")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]

PROCESS_SETTINGS = ("config", "model", "data", "redis_url", "device", "dtype")
"""Settings that the worker and the HTTP service take as options."""
LISTEN_SETTINGS = ("host", "port")
SOLVE_SETTINGS = (*TEXT_OPTIONS, "context_seed", *SOLVE_OPTIONS)
"""Settings of the editor."""


def takes_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command to add an option for each of these settings.

    The command gets them as ``options``: a value for each setting, None if the option is not given.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_options(**values: Any) -> None:
            options = {name: values.pop(name) for name in names}
            command(
                options={name: tuple(v) or None if isinstance(v, list) else v for name, v in options.items()}, **values
            )

        signature = inspect.signature(command, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]
        added = [_parameter(name) for name in names]
        with_options.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        return with_options

    return decorate


def _parameter(name: str) -> inspect.Parameter:
    annotation: Any = Settings.model_fields[name].annotation
    if annotation == tuple[Path, ...]:
        annotation = list[Path]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation | None, _option(name)]
    )


def service_url(settings: Settings) -> str:
    """Return the given address of the service, else the address on which ``errata up`` with these settings listens."""
    return settings.url or listening_url(settings)


def listening_url(settings: Settings) -> str:
    """Return the address at which a local client reaches a service with these settings."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - connects only
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def open_client(url: str | None, api_key: str | None, *, timeout_seconds: float = 60.0) -> Client:
    """Return a client for the service that the options or the environment name."""
    settings = read_settings(url=url, api_key=api_key)
    key = settings.api_key.get_secret_value() if settings.api_key is not None else None
    return Client(service_url(settings), api_key=key, timeout_seconds=timeout_seconds)
