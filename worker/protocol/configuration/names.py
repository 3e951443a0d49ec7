"""Names of settings, in the environment and in error messages."""

from __future__ import annotations

from collections.abc import Collection

from worker.protocol.configuration.effective import HIDDEN, hide_password

OPTIONS = frozenset(
    {"model", "data", "host", "port", "redis_url", "corpus", "dataset", "layers", "prior_weight", "clamp"}
    | {"device", "dtype", "url", "api_key", "text_column", "statistics", "config", "guard_weight", "tokens"}
    | {"context_seed", "role"}
)
"""Settings that commands also accept as options."""


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return "REDIS_URL" if name.upper() == "REDIS_URL" else f"ERRATA_{name.upper()}"


def flag(name: str) -> str:
    """Return the command-line option of a setting."""
    return f"--{name.removesuffix('_url').replace('_', '-')}"


def explain(item: object, *, from_file: Collection[str]) -> str:
    """Return the text of a pydantic validation error with the setting's name in its source. Secrets are hidden."""
    assert isinstance(item, dict)
    if not item["loc"]:
        return str(item["msg"]).removeprefix("Value error, ")
    name = str(item["loc"][0])
    value = HIDDEN if name == "api_key" else hide_password(repr(item.get("input")))
    return f"{name if name in from_file else _spellings(name)} = {value}: {item['msg']}"


def _spellings(name: str) -> str:
    return f"{variable_of(name)} ({flag(name)})" if name in OPTIONS else variable_of(name)
