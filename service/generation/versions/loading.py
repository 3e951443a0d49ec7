"""Makes a version that can be asked from its files: a view of the one loaded model, with an engine of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from torch import nn

from editing_core.errors import NotFound, StoreDamaged, StoreMismatch
from editing_core.models.load import LoadedModel
from editing_core.models.memory import free_bytes
from editing_core.models.streams import loading_stream
from editing_core.models.views import make_view
from editing_core.versions.layout import ORIGINAL, is_version_name
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.forward.joined import join_projections
from service.generation.decoding.forward.packed import PackedWeights, writing_twin
from service.generation.decoding.requests import GenerationRequest
from service.generation.errors import NoRoom


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resident:
    """A version that can be asked."""

    version: str
    digest: str
    """Of the very bytes that its matrices were made of."""
    model: nn.Module
    writer: nn.Module
    """Its twin, which computes the answers."""
    engine: DecodeEngine
    size_bytes: int
    """Of its own matrices, packed ones counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What each version's engine may hold."""

    num_places: int
    max_waiting: int
    prefill_tokens: int


_WARMING_TOKENS, _WARMING_STEPS = 64, 4
"""Tokens of a prompt, and of its answer."""


class VersionLoader:
    """Reads versions of one store for one model."""

    def __init__(self, loaded: LoadedModel, store: VersionStore, limits: EngineLimits) -> None:
        self._loaded = loaded
        self._store = store
        self._limits = limits
        self._packed = PackedWeights.of(loaded.model, free_bytes=lambda: free_bytes(loaded.device))
        self._beside = loading_stream(loaded.device)
        if loaded.device.type == "cuda":
            join_projections(loaded.model)

    def warm_up(self) -> None:
        """Have a GPU load what steps of all sizes need now, and not while answers wait: it does so at first calls."""
        if self._loaded.device.type != "cuda":
            return
        family, model = self._loaded.family, self._loaded.model
        ids = (0,) * min(_WARMING_TOKENS, self._loaded.max_positions // 2)
        prompt = GenerationRequest(prompt_ids=ids, max_new_tokens=_WARMING_STEPS)
        edited = {family.projection_weight_name(0): family.projection_weight(model, 0).detach().float()}
        for version in (model, make_view(model, edited)):
            engine = self._engine(writing_twin(version, self._packed))
            for count in _doublings(self._limits.num_places):
                engine.submit([prompt] * count)
                while engine.busy:
                    engine.step()

    def is_kept(self, version: str) -> bool:
        """Whether its files are there."""
        return version == ORIGINAL or (is_version_name(version) and self._store.layout.version_dir(version).exists())

    def load(self, version: str, *, make_room: Callable[[str, int], None]) -> Resident:
        """Read the version; ``make_room`` is told its bytes before they are taken, and raises where there is no room.

        Raises NotFound, StoreDamaged, StoreMismatch, or what the device raises when its memory is full.
        """
        manifest = self._manifest(version)
        model, digest, size_bytes = self._loaded.model, manifest.digest, 0
        if version != ORIGINAL:
            size_bytes = int(manifest.size_bytes or 0)
            if self._packed is not None:
                size_bytes += self._packed.bytes_of(model, manifest.tensors)
            make_room(version, size_bytes)
            with self._beside.work():
                digest, tensors = self._store.load_verified(version, self._loaded.device)
                model = make_view(model, tensors)
        assert digest is not None, "the store gives finished manifests"
        twin = writing_twin(model, self._packed)
        return Resident(
            version=version,
            digest=digest,
            model=model,
            writer=twin,
            engine=self._engine(twin),
            size_bytes=size_bytes,
        )

    def _manifest(self, version: str) -> Manifest:
        try:
            manifest = self._store.read_manifest(version)
        except NotFound:  # in words for clients, who have no business with the store's folder
            raise NotFound(f"there is no version {version!r}: GET /versions lists those that are kept") from None
        fingerprint = manifest.model_fingerprint
        if fingerprint is not None and fingerprint != self._loaded.fingerprint:
            raise StoreMismatch(
                f"version {version} was made for the model {fingerprint}, and the one loaded here is "
                f"{self._loaded.fingerprint}: start with the store's model, or with another data folder"
            )
        return manifest

    def _engine(self, twin: nn.Module) -> DecodeEngine:
        return DecodeEngine(
            twin,
            self._loaded.tokenizer,
            num_places=self._limits.num_places,
            max_length=self._loaded.max_positions,
            max_waiting=self._limits.max_waiting,
            prefill_tokens=self._limits.prefill_tokens,
        )


def _doublings(most: int) -> list[int]:
    """1, 2, 4 and so on below ``most``, and ``most``."""
    return [*(1 << i for i in range((most - 1).bit_length())), most]


def require_digest(resident: Resident, digest: str | None) -> None:
    """Raise StoreDamaged for another digest."""
    if digest is None or resident.digest == digest:
        return
    raise StoreDamaged(
        f"version {resident.version} has the digest {resident.digest} on disk and {digest} in the ledger: "
        "restore it from a backup, or promote another version"
    )


def for_clients(version: str, error: Exception) -> Exception:
    """The same in words for clients, where it names the store's files: those are in the log."""
    if isinstance(error, StoreDamaged | OSError):
        told = StoreDamaged(
            f"version {version} is damaged or cannot be read: ask for another version; whoever runs this service finds "
            "the file in its log, and restores it from a backup or promotes another version"
        )
        told.__cause__ = error
        return told
    return error


def loudness_of(error: Exception) -> int:
    """How loudly it is told that a version was not loaded: memory is asked for again and again until there is some."""
    if isinstance(error, NoRoom):
        return logging.DEBUG
    return logging.INFO if isinstance(error, NotFound) else logging.WARNING


def there(resident: Resident) -> Future[Resident]:
    """A version that need not be waited for."""
    found: Future[Resident] = Future()
    found.set_result(resident)
    return found
