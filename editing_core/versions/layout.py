"""The paths of all files of a store. Torch-free; reads and writes nothing.

A store is one folder:

``store.json``      the store's id, made once (``identity``)
``model.json``      the model it belongs to, made once
``settings.json``   the settings of the solve it belongs to, made once
``HEAD``            copy of the pointer, read only if Redis has none
``versions/v7/``    ``manifest.json`` and ``tensors.safetensors`` of a version; ``published`` if it was ever live;
                    ``pinned`` while it is pinned
``targets/``        z files, each made once
``artefacts/``      data prepared for the model: contexts, covariances, probes
``redis/``          data of the embedded Redis
``exports/``        versions exported by the worker, one folder each
``api-keys.json``   API keys, hashed
``audit.jsonl``     copy of the audit chain
``guards.json``     copy of the guards
``audit-notes/``    pending entries for the audit chain, from commands that need no Redis
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ORIGINAL = "v0"
"""The untouched model. It always exists and has no folder."""

_VERSION = re.compile(r"v(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """The paths of one store."""

    root: Path

    @property
    def store_file(self) -> Path:
        """The store's id."""
        return self.root / "store.json"

    @property
    def model_file(self) -> Path:
        """The model the store belongs to."""
        return self.root / "model.json"

    @property
    def settings_file(self) -> Path:
        """The settings of the solve the store belongs to."""
        return self.root / "settings.json"

    @property
    def head(self) -> Path:
        """Copy of the pointer."""
        return self.root / "HEAD"

    @property
    def versions_dir(self) -> Path:
        """One folder for each version except v0."""
        return self.root / "versions"

    @property
    def targets_dir(self) -> Path:
        """The stored z of edits."""
        return self.root / "targets"

    @property
    def artefacts_dir(self) -> Path:
        """Data prepared for the model: contexts, covariances, probes."""
        return self.root / "artefacts"

    @property
    def exports_dir(self) -> Path:
        """Versions exported by the worker."""
        return self.root / "exports"

    @property
    def api_keys(self) -> Path:
        """API keys, hashed."""
        return self.root / "api-keys.json"

    @property
    def audit_file(self) -> Path:
        """Copy of the audit chain."""
        return self.root / "audit.jsonl"

    @property
    def guards_file(self) -> Path:
        """Copy of the guards."""
        return self.root / "guards.json"

    @property
    def notes_dir(self) -> Path:
        """Pending entries for the audit chain."""
        return self.root / "audit-notes"

    def version_dir(self, version: str) -> Path:
        """The version's folder. Checks ``version``, which may come from outside; raises ValueError for other names."""
        if not is_version_name(version) or version == ORIGINAL:
            raise ValueError(f"{version!r} is not the name of a version with a folder")
        return self.versions_dir / version

    def manifest_file(self, version: str) -> Path:
        """The version's manifest."""
        return self.version_dir(version) / "manifest.json"

    def published_file(self, version: str) -> Path:
        """An empty file that exists if the version was ever live."""
        return self.version_dir(version) / "published"

    def pinned_file(self, version: str) -> Path:
        """An empty file that exists while the version is pinned."""
        return self.version_dir(version) / "pinned"

    def tensor_file(self, version: str) -> Path:
        """The edited matrices, exactly as served."""
        return self.version_dir(version) / "tensors.safetensors"


def is_version_name(text: str) -> bool:
    """Whether the text is v0, v1, v2 and so on."""
    return _VERSION.fullmatch(text) is not None


def version_number(version: str) -> int:
    """The number in a version's name: 7 for v7."""
    assert is_version_name(version), version
    return int(version[1:])
