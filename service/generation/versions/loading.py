"""Loads a version from its files: a view of the one loaded model, with its own decode engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from editing_core.errors import NotFound, StoreMismatch
from editing_core.models.load import LoadedModel
from editing_core.models.memory import free_bytes
from editing_core.models.streams import loading_stream
from editing_core.models.views import make_view
from editing_core.versions.layout import ORIGINAL, is_version_name
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.forward.joined import join_projections
from service.generation.decoding.forward.packed import PackedWeights, decoding_copy
from service.generation.decoding.requests import GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resident:
    """A version in memory that answers requests."""

    version: str
    digest: str
    """The digest of the bytes from which the matrices were read."""
    model: nn.Module
    decoding_model: nn.Module
    """The copy of ``model`` that computes the answers; see ``decoding_copy``."""
    engine: DecodeEngine
    size_bytes: int
    """The size of the version's own matrices, packed copies included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """The limits of each version's engine."""

    num_places: int
    max_waiting: int
    prefill_tokens: int


_WARMING_TOKENS, _WARMING_STEPS = 64, 4
"""Lengths in tokens of the prompt and of the answer that warm up a GPU."""


class VersionLoader:
    """Loads versions of one store for one model."""

    def __init__(self, loaded: LoadedModel, store: VersionStore, limits: EngineLimits) -> None:
        self._loaded = loaded
        self._store = store
        self._limits = limits
        self._packed = PackedWeights.of(loaded.model, free_bytes=lambda: free_bytes(loaded.device))
        self._stream = loading_stream(loaded.device)
        if loaded.device.type == "cuda":
            join_projections(loaded.model)

    def warm_up(self) -> None:
        """Run steps of all sizes once, because a GPU loads its kernels at their first call. Does nothing on a CPU."""
        if self._loaded.device.type != "cuda":
            return
        family, model = self._loaded.family, self._loaded.model
        ids = (0,) * min(_WARMING_TOKENS, self._loaded.max_positions // 2)
        prompt = GenerationRequest(prompt_ids=ids, max_new_tokens=_WARMING_STEPS)
        edited = {family.projection_weight_name(0): family.projection_weight(model, 0).detach().float()}
        for version in (model, make_view(model, edited)):
            engine = self._engine(decoding_copy(version, self._packed))
            for count in _doublings(self._limits.num_places):
                engine.submit([prompt] * count)
                while engine.busy:
                    engine.step()

    def is_kept(self, version: str) -> bool:
        """Whether the version's files exist."""
        return version == ORIGINAL or (is_version_name(version) and self._store.layout.version_dir(version).exists())

    def load(self, version: str, *, free_memory: Callable[[str, int], None]) -> Resident:
        """Read the version from its files.

        ``free_memory`` is called with the version and its size in bytes before the memory is taken. It raises NoRoom if
        the version does not fit. Raises NotFound, StoreDamaged, StoreMismatch, or what the device raises when its
        memory is full.
        """
        manifest = self._manifest(version)
        model, digest, size_bytes = self._loaded.model, manifest.digest, 0
        if version != ORIGINAL:
            size_bytes = int(manifest.size_bytes or 0)
            if self._packed is not None:
                size_bytes += self._packed.bytes_of(model, manifest.tensors)
            free_memory(version, size_bytes)
            with self._stream.work():
                digest, tensors = self._store.load_verified(version, self._loaded.device)
                model = make_view(model, tensors)
        assert digest is not None, "the store returns complete manifests only"
        copy = decoding_copy(model, self._packed)
        return Resident(
            version=version,
            digest=digest,
            model=model,
            decoding_model=copy,
            engine=self._engine(copy),
            size_bytes=size_bytes,
        )

    def _manifest(self, version: str) -> Manifest:
        try:
            manifest = self._store.read_manifest(version)
        except NotFound:  # the store's message names its folder, which clients must not see
            raise NotFound(f"there is no version {version!r}: GET /versions lists the versions that are kept") from None
        fingerprint = manifest.model_fingerprint
        if fingerprint is not None and fingerprint != self._loaded.fingerprint:
            raise StoreMismatch(
                f"version {version} was made for the model {fingerprint}, but the loaded model is "
                f"{self._loaded.fingerprint}: start with the store's model, or with another data folder"
            )
        return manifest

    def _engine(self, copy: nn.Module) -> DecodeEngine:
        return DecodeEngine(
            copy,
            self._loaded.tokenizer,
            num_places=self._limits.num_places,
            max_length=self._loaded.max_positions,
            max_waiting=self._limits.max_waiting,
            prefill_tokens=self._limits.prefill_tokens,
        )


def _doublings(most: int) -> list[int]:
    """Return the powers of two below ``most``, and ``most``."""
    return [*(1 << i for i in range((most - 1).bit_length())), most]
