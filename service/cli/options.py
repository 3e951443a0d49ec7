"""Options that several commands share, each with its environment twin, and how a client is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.client.client import Client
from worker.protocol.settings import Settings, read_settings

_RUNNING = "Running it"
_SOLVING = "How edits are solved"
_CONNECTING = "Connection"

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="ERRATA_URL",
        help="Service to talk to; default http://127.0.0.1:8000.",
        rich_help_panel=_CONNECTING,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="ERRATA_API_KEY", help="Key to send, where keys are on.", rich_help_panel=_CONNECTING
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", envvar="ERRATA_CONFIG", help="TOML file of settings.", rich_help_panel=_RUNNING),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="ERRATA_MODEL",
        help="Hugging Face id, folder, demo-gptj or demo-gptneox; default demo-gptj.",
        rich_help_panel=_RUNNING,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="ERRATA_DATA",
        help="Folder of versions, model artefacts and embedded Redis; default ./var.",
        rich_help_panel=_RUNNING,
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host", envvar="ERRATA_HOST", help="Address HTTP listens on; default 127.0.0.1.", rich_help_panel=_RUNNING
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        envvar="ERRATA_PORT",
        min=0,
        max=65535,
        help="Port HTTP listens on; default 8000; 0: any free one.",
        rich_help_panel=_RUNNING,
    ),
]
RedisOption = Annotated[
    str | None,
    typer.Option("--redis", envvar="REDIS_URL", help="Redis to use, as redis://host:port/0.", rich_help_panel=_RUNNING),
]
CorpusOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--corpus",
        envvar="ERRATA_CORPUS",
        help="Text file for covariance, probes and perplexity; repeatable (':' between in the environment).",
        rich_help_panel=_SOLVING,
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        envvar="ERRATA_DATASET",
        metavar="NAME[:CONFIG][@SPLIT]",
        help="Hugging Face dataset, or a folder of one, instead of --corpus.",
        rich_help_panel=_SOLVING,
    ),
]
TextColumnOption = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        envvar="ERRATA_TEXT_COLUMN",
        help="Column of the dataset that holds the text; default text.",
        rich_help_panel=_SOLVING,
    ),
]
StatisticsOption = Annotated[
    Path | None,
    typer.Option(
        "--statistics",
        envvar="ERRATA_STATISTICS",
        help="Folder of published .npz second moments, instead of covariances from the text.",
        rich_help_panel=_SOLVING,
    ),
]
LayersOption = Annotated[
    str | None,
    typer.Option(
        "--layers",
        envvar="ERRATA_LAYERS",
        help="Edited layers, as 3-8 or 1,2,3,4; default: the model's preset.",
        rich_help_panel=_SOLVING,
    ),
]
PriorWeightOption = Annotated[
    float | None,
    typer.Option(
        "--prior-weight",
        envvar="ERRATA_PRIOR_WEIGHT",
        help="Lambda, weight of old associations against new ones; default: the model's preset.",
        rich_help_panel=_SOLVING,
    ),
]
ClampOption = Annotated[
    float | None,
    typer.Option(
        "--clamp",
        envvar="ERRATA_CLAMP",
        help="Largest change at the subject, as a share of its norm; default: the model's preset.",
        rich_help_panel=_SOLVING,
    ),
]
GuardWeightOption = Annotated[
    float | None,
    typer.Option(
        "--guard-weight",
        envvar="ERRATA_GUARD_WEIGHT",
        help="Weight of a held key (a guard, a protected neighbour) in the solve; an edit's is 1; default 0.05.",
        rich_help_panel=_SOLVING,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        envvar="ERRATA_DEVICE",
        help="Torch device; default: cuda if there, else cpu; auto spreads a model over all CUDA devices.",
        rich_help_panel=_RUNNING,
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        envvar="ERRATA_DTYPE",
        help="float32, bfloat16 or float16; default: the checkpoint's on CUDA, float32 on CPU.",
        rich_help_panel=_RUNNING,
    ),
]


def service_url(settings: Settings) -> str:
    """Where the service is: the given address, else where ``errata up`` with these settings listens."""
    return settings.url or listening_url(settings)


def listening_url(settings: Settings) -> str:
    """Where a service with these settings listens, as a client on this machine reaches it."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - not bound, connected to
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def open_client(url: str | None, api_key: str | None, *, timeout_seconds: float = 60.0) -> Client:
    """A client for the service that options and environment name."""
    settings = read_settings(url=url, api_key=api_key)
    key = settings.api_key.get_secret_value() if settings.api_key is not None else None
    return Client(service_url(settings), api_key=key, timeout_seconds=timeout_seconds)
