"""The task of a rebuild or a migration, and the stored version that it reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from editing_core.checks.limits import CheckLimits
from editing_core.editor.opening import EditorOptions
from editing_core.errors import InvalidSettings, NotFound, StoreError
from editing_core.versions.head import read_head
from editing_core.versions.identity import StoreIdentity, open_identity
from editing_core.versions.layout import ORIGINAL, StoreLayout, is_version_name
from editing_core.versions.manifest import Manifest, decode_manifest
from editing_core.versions.store import VersionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One rebuild or migration. None means the source's value or, for another model, the preset of that model."""

    source: Path
    """Folder of the store to read. It is not changed."""
    out: Path
    version: str | None = None
    """None: the live version of HEAD."""
    model: str | None = None
    with_targets: bool = True
    """Use the source's stored z if they fit."""
    options: EditorOptions = field(default_factory=EditorOptions)
    new_statistics: bool = False
    """Compute the statistics from the given text even if the source has those of the version's solve."""
    device: str | None = None
    dtype: str | None = None
    num_threads: int | None = None
    limits: CheckLimits
    even_if_failed: bool = False
    """Write the version even if its checks fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A version of a store, with the identity of the store."""

    layout: StoreLayout
    identity: StoreIdentity
    manifest: Manifest

    @property
    def model(self) -> str:
        """The source from which the model was loaded when the store was bound to it."""
        assert self.identity.model is not None
        return self.identity.model.source

    def tensors(self) -> tuple[dict[str, Tensor] | None, str | None]:
        """Return the version's matrices, or the reason why they cannot be read. A rebuild works without them."""
        try:
            return VersionStore(self.layout).load_tensors(self.manifest.version, "cpu"), None
        except (StoreError, NotFound, OSError) as error:
            return None, str(error)


def open_source(folder: Path, version: str | None) -> Source:
    """Read the version's manifest; it needs no tensor file. Raises InvalidSettings, NotFound and StoreDamaged."""
    layout = StoreLayout(folder)
    if not layout.store_file.is_file():
        raise InvalidSettings(f"there is no version store in {folder}: name its folder by --from")
    head = read_head(layout)
    name = version or (head.version if head else ORIGINAL)
    if not is_version_name(name):
        raise InvalidSettings(f"{name!r} is not the name of a version, as v3")
    if name == ORIGINAL:
        raise InvalidSettings(
            f"{'v0' if version else f'{folder} serves v0, which'} is the untouched model, which has nothing to solve: "
            "name a version by --version"
        )
    file = layout.manifest_file(name)
    if not file.is_file():
        raise NotFound(f"{folder} holds no version {name}: its versions are {', '.join(_names(layout)) or 'none'}")
    identity = open_identity(folder)
    if identity.model is None:
        raise InvalidSettings(f"the store {folder} belongs to no model yet: nothing was solved in it")
    return Source(layout=layout, identity=identity, manifest=decode_manifest(file.read_bytes(), file))


def _names(layout: StoreLayout) -> list[str]:
    return VersionStore(layout).folders()


def require_room_for_store(out: Path, source: Path) -> None:
    """Raise InvalidSettings unless ``out`` is empty or holds the remains of an earlier attempt, without a version."""
    layout = StoreLayout(out)
    if out.resolve().is_relative_to(source.resolve()):
        raise InvalidSettings(f"--out {out} is the store that is read, or lies in it: name another folder")
    if out.exists() and not out.is_dir():
        raise InvalidSettings(f"--out {out} is no folder")
    if VersionStore(layout).folders() or layout.head.exists():
        raise InvalidSettings(f"--out {out} holds a version already: name a new folder")
    if out.is_dir() and any(out.iterdir()) and not layout.store_file.exists():
        raise InvalidSettings(f"--out {out} is not empty: name a new folder")
