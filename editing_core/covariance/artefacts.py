"""The artefacts of a model as files, in a folder whose name is a hash of everything that changes the numbers.

This module writes and reads artefacts; ``editing_core.covariance.prepare`` makes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from editing_core.asking.probes import ProbeSet
from editing_core.durable import write_durably
from editing_core.errors import StoreDamaged

FORMAT = 1
RECORD_FILE = "artefacts.json"
TENSOR_FILE = "artefacts.safetensors"
_WAY_OUT = "remove the folder and run `errata prepare` again"
SEAL = "seal"
"""Field with the sha256 of the rest of the record. Old records do not have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtefactKey:
    """Everything that changes the numbers of the artefacts."""

    model: str
    """Fingerprint of the model."""
    corpus: str
    """Digest of the corpus."""
    layers: tuple[int, ...]
    num_tokens: int | None
    """Requested number of tokens; None if ``statistics`` is set."""
    window: int
    context_seed: int
    dtype: str
    statistics: str | None = None
    """Digest of the published second moments, if they are used instead of text."""
    format: int = FORMAT

    def folder_name(self) -> str:
        """Return the name of the artefacts' folder: a hash of the values that are not None."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtefacts:
    """Contexts, covariances, probe set and held-out text of one model."""

    contexts: tuple[str, ...]
    covariances: Mapping[int, Tensor]
    """E[k kᵀ] of each edited layer, [d_ff, d_ff], float32."""
    probes: ProbeSet
    heldout_ids: tuple[int, ...]
    heldout_perplexity: float
    """Perplexity of the original model on the held-out text."""
    num_tokens: int
    """Number of tokens in the covariances."""
    change_since_half: float | None = None
    """Relative change of the diagonal by the second half of the tokens, in the layer with the largest change."""

    def fingerprint(self) -> str:
        """Return the sha256 of the contexts and the covariances' bytes, the artefacts that change an edit."""
        digest = hashlib.sha256(json.dumps(list(self.contexts)).encode())
        for layer in sorted(self.covariances):
            digest.update(self.covariances[layer].contiguous().numpy().data)
        return f"sha256:{digest.hexdigest()}"


def write_artefacts(folder: Path, artefacts: ModelArtefacts, key: ArtefactKey) -> None:
    """Write the tensors, then the record. The record marks the folder as complete."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"covariance.{layer}": c for layer, c in artefacts.covariances.items()}
    tensors["probes.log_probs"] = artefacts.probes.log_probs
    write_tensors(folder / TENSOR_FILE, tensors)
    record = {
        "key": asdict(key),
        "contexts": artefacts.contexts,
        "probes": {"prompts": artefacts.probes.prompts, "answers": artefacts.probes.answers},
        "heldout_ids": artefacts.heldout_ids,
        "heldout_perplexity": artefacts.heldout_perplexity,
        "num_tokens": artefacts.num_tokens,
        "change_since_half": artefacts.change_since_half,
        "tensors_sha256": _sha256(folder / TENSOR_FILE),
    }
    text = json.dumps({**record, SEAL: _seal(record)}, indent=1)
    write_durably(folder / RECORD_FILE, lambda file: file.write_text(text))


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file atomically: it is complete or absent."""
    write_durably(path, lambda file: save_file(tensors, file))


def read_artefacts(folder: Path) -> ModelArtefacts | None:
    """Return the artefacts in ``folder``, or None if they are incomplete. Raises StoreDamaged if they were changed."""
    if not (folder / RECORD_FILE).is_file():
        return None
    record, file = read_record(folder), folder / TENSOR_FILE
    try:
        found = _sha256(file)
        if found != record["tensors_sha256"]:
            raise StoreDamaged(f"{file}: sha256 is {found}, not {record['tensors_sha256']}: {_WAY_OUT}")
        return _artefacts(record, load_file(file))
    except FileNotFoundError:
        raise StoreDamaged(f"{file} is missing: {_WAY_OUT}") from None
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise StoreDamaged(f"{folder / RECORD_FILE} is not what Errata writes ({error!r}): {_WAY_OUT}") from None


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record as written, with its ``key``. Raises StoreDamaged if it was changed."""
    file = folder / RECORD_FILE
    try:
        record = json.loads(file.read_bytes())
        seal = record.pop(SEAL, None)
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise StoreDamaged(f"{file} is not what Errata writes: {_WAY_OUT}") from None
    if seal is not None and seal != _seal(record):
        raise StoreDamaged(f"{file} was changed after it was written: {_WAY_OUT}")
    return dict(record)


def _seal(record: Mapping[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _artefacts(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ModelArtefacts:
    prefix = "covariance."
    return ModelArtefacts(
        contexts=tuple(record["contexts"]),
        covariances={int(n.removeprefix(prefix)): t for n, t in tensors.items() if n.startswith(prefix)},
        probes=ProbeSet(
            prompts=tuple(tuple(prompt) for prompt in record["probes"]["prompts"]),
            answers=tuple(record["probes"]["answers"]),
            log_probs=tensors["probes.log_probs"],
        ),
        heldout_ids=tuple(record["heldout_ids"]),
        heldout_perplexity=record["heldout_perplexity"],
        num_tokens=record["num_tokens"],
        change_since_half=record.get("change_since_half"),
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def torch_dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype, such as ``float32``."""
    return str(dtype).removeprefix("torch.")
