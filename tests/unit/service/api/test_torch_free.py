from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = "import {module}, sys; print(*sorted({{'torch', 'transformers', 'numpy'}} & set(sys.modules)))"


@pytest.mark.parametrize("module", ["service.api.app", "service.serve", "service.api.access.keys"])
def test_the_api_starts_without_torch(module: str) -> None:
    look = subprocess.run(
        [sys.executable, "-c", LOOK.format(module=module)], capture_output=True, text=True, check=True
    )
    assert not look.stdout.strip()
