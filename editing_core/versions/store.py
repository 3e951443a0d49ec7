"""The version store: complete versions on disk, and nothing that could be mistaken for one.

A version is written into a temporary folder, synced and renamed; then the parent folder is synced. The temporary folder
is locked during the write, which distinguishes work in progress from the leftovers of dead writers. Digests are checked
on load, over the same bytes that are then used.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from editing_core.durable import locked, remove_abandoned, sync, write_durably
from editing_core.errors import NotFound, StoreDamaged, StoreError
from editing_core.versions.head import Head, read_head, write_head
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import ORIGINAL, StoreLayout, is_version_name, version_number
from editing_core.versions.manifest import (
    EMPTY_DIGEST,
    EMPTY_TENSOR_FILE,
    Manifest,
    TensorEntry,
    decode_manifest,
    encode_manifest,
)
from editing_core.versions.tensor_file import read_tensor_file

_PARTIAL = ".partial-"
_REMOVED = ".removed-"


Versions = list[str]
"""Names of versions. The alias is needed because ``list`` is a method of the class below."""


_Stamp = tuple[int, ...]
"""Inode, size and change times of a file. They differ after every replacement and every write."""


class VersionStore:
    """Reads and writes the versions of one store."""

    def __init__(self, layout: StoreLayout, *, keep_manifest: bool = False) -> None:
        """``keep_manifest``: keep the manifest read or written last in memory, for processes that read it often."""
        self.layout = layout
        self._keep_manifest = keep_manifest
        self._kept: tuple[_Stamp, Manifest] | None = None
        self._intact: dict[str, _Stamp] = {}

    def write(self, manifest: Manifest, tensors: Mapping[str, Tensor]) -> Manifest:
        """Write and sync a complete version, then make it visible in one rename. Returns its finished manifest.

        ``manifest.tensors``, ``digest`` and ``size_bytes`` are computed from the tensors.
        Raises StoreError if the version exists: a version's number is never used twice.
        """
        final = self.layout.version_dir(manifest.version)
        if final.exists():
            raise StoreError(f"{final} exists already: a version's number is never used twice")
        self.layout.versions_dir.mkdir(parents=True, exist_ok=True)
        partial = self.layout.versions_dir / f"{_PARTIAL}{manifest.version}-{secrets.token_hex(4)}"
        partial.mkdir()
        try:
            with locked(partial):
                finished = _write_files(partial, manifest, tensors)
                partial.rename(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync(self.layout.versions_dir)
        self._note_intact(finished, _stamp(final / "manifest.json"))
        return finished

    def read_manifest(self, version: str) -> Manifest:
        """The version's manifest. The manifest of v0 is built from the store's identity.

        Raises NotFound, or StoreDamaged with the cause.
        """
        if version == ORIGINAL:
            return self._original()
        folder = self._existing_folder(version)
        path = folder / "manifest.json"
        if not path.exists():
            raise StoreDamaged(f"version {version} is not complete: {path} is missing")
        stamp = _stamp(path)  # before reading: if the file is replaced meanwhile, the next call reads it again
        manifest = self._decoded(version, path, stamp)
        self._require_size(version, manifest)
        self._note_intact(manifest, stamp)
        return manifest

    def _decoded(self, version: str, path: Path, stamp: _Stamp) -> Manifest:
        if self._kept is not None and self._kept[0] == stamp and self._kept[1].version == version:
            return self._kept[1]
        manifest = decode_manifest(path.read_bytes(), path)
        if manifest.version != version:
            raise StoreDamaged(f"{path} is the manifest of {manifest.version}, not of {version}")
        return manifest

    def _note_intact(self, manifest: Manifest, stamp: _Stamp) -> None:
        self._intact[manifest.version] = (*stamp, manifest.size_bytes or 0)
        if self._keep_manifest:
            self._kept = (stamp, manifest)

    def _is_intact(self, version: str) -> bool:
        """Whether the version was intact when last read, and neither of its files has changed since."""
        found = self._intact.get(version)
        try:
            manifest = _stamp(self.layout.manifest_file(version))
            return found == (*manifest, self.layout.tensor_file(version).stat().st_size)
        except FileNotFoundError:
            return False

    def _require_size(self, version: str, manifest: Manifest) -> None:
        tensor_file = self.layout.tensor_file(version)
        size = tensor_file.stat().st_size if tensor_file.exists() else None
        if size != manifest.size_bytes:
            found = "missing" if size is None else f"{size} bytes long"
            raise StoreDamaged(
                f"version {version} is damaged: {tensor_file} is {found}, and was written with "
                f"{manifest.size_bytes} bytes. Restore it from a backup, or promote another version"
            )

    def load_tensors(self, version: str, device: torch.device | str) -> dict[str, Tensor]:
        """The version's matrices on the device. The digest is checked over the same bytes that fill the matrices.

        Raises NotFound, or StoreDamaged with the version, the file, and the expected and the actual digest.
        """
        return self.load_verified(version, device)[1]

    def load_verified(self, version: str, device: torch.device | str) -> tuple[str, dict[str, Tensor]]:
        """The digest of the bytes that were read, and the matrices as ``load_tensors`` returns them."""
        manifest = self.read_manifest(version)
        if version == ORIGINAL:
            return EMPTY_DIGEST, {}
        path = self.layout.tensor_file(version)
        file = read_tensor_file(path, device)
        if file.digest != manifest.digest:
            raise StoreDamaged(
                f"version {version} is damaged: {path} was written with digest {manifest.digest} and now has "
                f"{file.digest}. "
                "Restore it from a backup, or promote another version"
            )
        if file.problem is not None:
            raise StoreDamaged(f"version {version} is damaged: {path} cannot be read ({file.problem})")
        if _entries(file.tensors) != manifest.tensors:
            raise StoreDamaged(f"version {version} is damaged: {path} holds other tensors than its manifest tells")
        return file.digest, file.tensors

    def list(self) -> Versions:
        """Versions that can be served, v0 first, by number. ``damaged`` names the others."""
        broken = self.damaged()
        return [ORIGINAL, *(version for version in self.folders() if version not in broken)]

    def damaged(self) -> dict[str, str]:
        """By version: why it cannot be served. Checks only the manifest and the size of the tensor file.

        A manifest that this object has read or written is read again only if its file has changed.
        """
        reasons = {}
        for version in self.folders():
            if self._is_intact(version):
                continue
            try:
                self.read_manifest(version)
            except StoreError as error:
                reasons[version] = error.detail
            except NotFound:  # removed meanwhile
                continue
        return reasons

    def sweep_partial(self) -> Versions:
        """Remove folders that dead processes left half-written or half-removed. Returns the folders' names."""
        return remove_abandoned(self._entries_starting_with(_PARTIAL, _REMOVED))

    def write_head(self, revision: int, version: str) -> bool:
        """Copy the pointer to disk. Returns False and writes nothing if HEAD already holds a later revision."""
        return write_head(self.layout, revision, version)

    def read_head(self) -> Head | None:
        """The copy of the pointer; None if none was ever written. Raises StoreDamaged if it cannot be read."""
        return read_head(self.layout)

    def remove(self, version: str) -> None:
        """Remove a version's files. The version disappears in one rename. Raises NotFound."""
        folder = self._existing_folder(version)
        doomed = self.layout.versions_dir / f"{_REMOVED}{version}-{secrets.token_hex(4)}"
        folder.rename(doomed)
        sync(self.layout.versions_dir)
        shutil.rmtree(doomed, ignore_errors=True)

    def folders(self) -> Versions:
        """Versions that have a folder, by number, damaged or not. Reads no file."""
        names = [path.name for path in self._entries_starting_with("v") if is_version_name(path.name)]
        return sorted((name for name in names if name != ORIGINAL), key=version_number)

    def _entries_starting_with(self, *prefixes: str) -> tuple[Path, ...]:
        if not self.layout.versions_dir.is_dir():
            return ()
        return tuple(sorted(p for p in self.layout.versions_dir.iterdir() if p.name.startswith(prefixes)))

    def _existing_folder(self, version: str) -> Path:
        if is_version_name(version) and version != ORIGINAL and self.layout.version_dir(version).is_dir():
            return self.layout.version_dir(version)
        raise NotFound(f"there is no version {version!r} in {self.layout.versions_dir}: `errata versions` lists them")

    def _original(self) -> Manifest:
        identity = open_identity(self.layout.root)
        return Manifest(
            version=ORIGINAL,
            parent=None,
            created=identity.created,
            store=identity.id,
            model_fingerprint=identity.model.fingerprint if identity.model else None,
            settings={},
            edits=(),
            batches={},
            delta_norms={},
            checks={},
            tensors={},
            digest=EMPTY_DIGEST,
            size_bytes=len(EMPTY_TENSOR_FILE),
        )


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _write_files(folder: Path, manifest: Manifest, tensors: Mapping[str, Tensor]) -> Manifest:
    tensor_file = folder / "tensors.safetensors"
    # No metadata: its order in the file is not fixed, but equal weights must have equal digests.
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, tensor_file)
    sync(tensor_file)
    with tensor_file.open("rb") as file:
        digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    known = {"tensors": _entries(tensors), "digest": digest, "size_bytes": tensor_file.stat().st_size}
    finished = manifest.model_copy(update=known)
    content = encode_manifest(finished)
    write_durably(folder / "manifest.json", lambda path: path.write_bytes(content))
    return finished


def _entries(tensors: Mapping[str, Tensor]) -> dict[str, TensorEntry]:
    return {
        name: TensorEntry(dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape))
        for name, tensor in tensors.items()
    }
