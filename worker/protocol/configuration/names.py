"""What a setting is called: in the environment, and in the words that refuse a value of it."""

from __future__ import annotations

from collections.abc import Collection

from worker.protocol.configuration.effective import HIDDEN, hide_password

OPTIONS = frozenset(
    {"model", "data", "host", "port", "redis_url", "corpus", "dataset", "layers", "prior_weight", "clamp"}
    | {"device", "dtype", "url", "api_key", "text_column", "statistics", "config"}
)
"""Settings that commands take as options too."""


def twin(name: str) -> str:
    """A setting's environment variable."""
    return "REDIS_URL" if name.upper() == "REDIS_URL" else f"ERRATA_{name.upper()}"


def explain(item: object, *, from_file: Collection[str]) -> str:
    """One error of pydantic's, with the setting's name where it was given; secrets are hidden."""
    assert isinstance(item, dict)
    if not item["loc"]:
        return str(item["msg"]).removeprefix("Value error, ")
    name = str(item["loc"][0])
    if name in from_file:
        told = name
    else:
        told = f"{twin(name)} (--{name.removesuffix('_url').replace('_', '-')})" if name in OPTIONS else twin(name)
    value = HIDDEN if name == "api_key" else hide_password(repr(item.get("input")))
    return f"{told} = {value}: {item['msg']}"
