"""Tools that are not Python packages. A test is skipped if its tool is missing, but never in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool(name: str, *, package: str) -> str:
    """The path of the program; ``package`` is the package that installs it."""
    found = shutil.which(name)
    if found is not None:
        return found
    words = f"{name} is not installed: {package} brings it"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


def run_tool(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the tool to its end; its output is in ``stdout``."""
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
