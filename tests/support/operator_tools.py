"""Tools that are no Python packages: a test that needs one which is missing is skipped, but never in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool(name: str, *, package: str) -> str:
    """The program's path; ``package`` is what brings it."""
    found = shutil.which(name)
    if found is not None:
        return found
    words = f"{name} is not installed: {package} brings it"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


def run_tool(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end; what it says is in ``stdout``."""
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
