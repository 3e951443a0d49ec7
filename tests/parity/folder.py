"""The folder that the comparisons with the public implementation read; it is no part of the repository."""

from __future__ import annotations

import sys
from pathlib import Path


def require_files(folder: Path, *names: str) -> None:
    """End the program with a word about what is missing."""
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        sys.exit(f"{folder} lacks {', '.join(missing)}: --help says what the folder has to hold")
