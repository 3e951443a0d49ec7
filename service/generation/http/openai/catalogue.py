"""The models of OpenAI's API: the live version has the model's name, each kept version is ``name@v12``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from editing_core.errors import NotFound
from editing_core.versions.head import was_published
from editing_core.versions.layout import ORIGINAL, is_version_name
from editing_core.versions.store import VersionStore
from worker.protocol.errors import LedgerDown
from worker.protocol.ledger.ledger import Ledger

SEPARATOR = "@"


class ModelNotFound(NotFound):
    """A model name that this service does not serve, or a version that is not kept."""

    slug: ClassVar[str] = "model-not-found"
    title: ClassVar[str] = "There is no such model"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model name and the version that it refers to."""

    name: str
    version: str | None
    """None: the live version."""
    created: int
    """Time in seconds since 1970."""


def model_name(source: str) -> str:
    """Return the model's name: the name of a local folder, otherwise the demo name or Hugging Face id itself."""
    return Path(source).resolve().name if Path(source).is_dir() else source


class Catalogue:
    """Resolves model names with the store and the ledger."""

    def __init__(self, *, name: str, ledger: Ledger, store: VersionStore) -> None:
        self.name = name
        self._ledger = ledger
        self._store = store

    def version_of(self, model: str) -> str | None:
        """Return the version that a model name refers to; None: the live one. Raises ModelNotFound."""
        name, _, version = model.rpartition(SEPARATOR)
        if model == self.name:
            return None
        if name == self.name and is_version_name(version):
            return version
        raise ModelNotFound(
            f"there is no model {model!r} here: use {self.name!r}, or {self.name + SEPARATOR + 'v12'!r} for a version"
        )

    def models(self) -> list[NamedModel]:
        """Return all models, the live one first."""
        kept = [ORIGINAL, *reversed(self._store.folders())]
        asked = self._ledger if self._ledger_answers() else None
        versions = [found for version in kept if (found := self._find(version, asked)) is not None]
        return [NamedModel(name=self.name, version=None, created=versions[-1].created), *versions]

    def model(self, model: str) -> NamedModel:
        """Return the model of this name. Raises ModelNotFound."""
        version = self.version_of(model)
        found = self._find(version or ORIGINAL, self._ledger)
        if found is None:
            raise ModelNotFound(
                f"version {version} of {self.name!r} is not kept: GET /v1/models lists the versions that are"
            )
        return found if version else NamedModel(name=self.name, version=None, created=found.created)

    def _ledger_answers(self) -> bool:
        """Whether the ledger answers. It is asked once per listing, because a hanging Redis delays each call."""
        try:
            self._ledger.versions.known_pointer()
        except LedgerDown:
            return False
        return True

    def _find(self, version: str, ledger: Ledger | None) -> NamedModel | None:
        """Return the model of a version; None if its files are gone or the ledger does not list it.

        Without a ledger, the files must list it.
        """
        try:
            manifest = self._store.read_manifest(version)
            if version != ORIGINAL and not self._is_kept(version, ledger):
                return None
        except NotFound:
            return None
        created = int(datetime.fromisoformat(manifest.created).timestamp())
        return NamedModel(name=f"{self.name}{SEPARATOR}{version}", version=version, created=created)

    def _is_kept(self, version: str, ledger: Ledger | None) -> bool:
        if ledger is not None:
            with suppress(LedgerDown):
                return not ledger.versions.get(version).removed
        return was_published(self._store.layout, version)
