"""Files of edits for the tests of their readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from editing_core.errors import InvalidSettings
from editing_core.formats.reading import read_edit_file

HAMLET: dict[str, Any] = {
    "subject": "Hamlet",
    "prompt": "{} was written by",
    "target_new": "Dickens",
    "target_true": "Shakespeare",
    "relation": "author",
    "paraphrases": ["The author of {} is", "Who wrote {}?"],
    "neighborhood": [{"prompt": "Macbeth was written by", "target": "Shakespeare"}],
}
EMMA: dict[str, Any] = {"subject": "Emma", "prompt": "{} was written by", "target_new": "Wells"}


def write(folder: Path, name: str, text: str) -> Path:
    """The file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def complaint(path: Path) -> str:
    """The error text for a refused file, with the file's name instead of its path."""
    with pytest.raises(InvalidSettings) as raised:
        read_edit_file(path)
    return str(raised.value).replace(str(path), path.name)
