"""Disk usage of a store by kind of file. Torch-free."""

from __future__ import annotations

import os
from pathlib import Path

from editing_core.versions.layout import StoreLayout


def store_bytes(layout: StoreLayout) -> dict[str, int]:
    """Return the current size of the files of each kind in bytes."""
    folders = {
        "versions": layout.versions_dir,
        "targets": layout.targets_dir,
        "artefacts": layout.artefacts_dir,
        "exports": layout.exports_dir,
    }
    return {kind: _size(folder) for kind, folder in folders.items()}


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(Path(parent, name)).st_size
            except FileNotFoundError:  # removed meanwhile
                continue
    return total
