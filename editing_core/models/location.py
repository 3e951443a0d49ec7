"""The location of a model's files, and the fingerprint of their content. Does not import torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import cast, get_args

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from editing_core.demo.models import DemoModel, demo_model_path
from editing_core.errors import InvalidSettings

FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "generation_config.json",
)
"""The files of a checkpoint that are read: no pickles, no code."""

_HASHED = ("config.json", "tokenizer.json", "vocab.json", "merges.txt")
_CHUNK_BYTES = 1 << 20


def resolve_model_path(source: str) -> Path:
    """Return the folder of a model, given as demo name, folder or Hugging Face id (from the local cache, else fetched).

    Raises InvalidSettings if the model does not exist or has no safetensors.
    """
    if source in get_args(DemoModel):
        return _require_checkpoint(demo_model_path(cast("DemoModel", source)), source)
    if Path(source).is_dir():
        return _require_checkpoint(Path(source).resolve(), source)
    if source.startswith((".", "/", "~")):
        raise InvalidSettings(f"model {source!r}: there is no such folder")
    return _require_checkpoint(_from_hub(source), source)


def model_fingerprint(path: Path) -> str:
    """Return the sha256 of configuration, tokenizer and weights: equal if and only if the model is the same."""
    digest = hashlib.sha256()
    for file in (*(path / name for name in _HASHED), *sorted(path.glob("*.safetensors"))):
        if file.exists():
            digest.update(f"{file.name}\0{_file_digest(file)}\0".encode())
    return f"sha256:{digest.hexdigest()}"


def _file_digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _from_hub(source: str) -> Path:
    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES), local_files_only=True))
    except HFValidationError as error:
        raise InvalidSettings(f"model {source!r} is neither a folder nor a Hugging Face id: {error}") from None
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES)))
    except (HfHubHTTPError, OSError) as error:
        raise InvalidSettings(
            f"model {source!r} is not a folder, not in the local Hugging Face cache, and could not be fetched: {error}"
        ) from None


def _require_checkpoint(path: Path, source: str) -> Path:
    if not (path / "config.json").is_file():
        raise InvalidSettings(f"model {source!r}: {path} has no config.json")
    if not any(path.glob("*.safetensors")):
        raise InvalidSettings(f"model {source!r}: {path} has no *.safetensors file; pickled weights are never read")
    return path
