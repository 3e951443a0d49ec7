"""Whether an edit is already true for the original model, kept on disk by all that changes the answer.

Asked alone, in the shape of its own prompt, so that no company decides about a choice that hangs by a hair; asked once,
so that it is not decided again. A file that cannot be read is made anew. Knows no edits.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from editing_core.evaluation.scoring import score_targets
from editing_core.models.load import LoadedModel
from editing_core.versions.durable import write_durably, write_once


@dataclass(frozen=True, slots=True)
class OriginalAnswers:
    """What the original model answers by itself, kept beside the z files."""

    loaded: LoadedModel
    root: Path
    _known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def gives(self, prompt: str, target: str) -> bool:
        """Whether greedy decoding after the prompt gives the target's tokens. Raises InvalidPrompt, OSError."""
        if (prompt, target) not in self._known:
            self._known[prompt, target] = self._read_or_ask(prompt, target)
        return self._known[prompt, target]

    def _read_or_ask(self, prompt: str, target: str) -> bool:
        file = self._file(prompt, target)
        found = _read(file)
        if found is None:
            (score,) = score_targets(self.loaded.model, self.loaded.tokenizer, [(prompt, target)], batch_size=1)
            content = json.dumps({"already_true": score.greedy_match}).encode()
            if file.exists():
                write_durably(file, lambda path: path.write_bytes(content))
            else:
                write_once(file, content)
            found = _read(file)
        return bool(found)

    def _file(self, prompt: str, target: str) -> Path:
        model = f"{self.loaded.fingerprint} {self.loaded.dtype}"
        key = hashlib.sha256(json.dumps([model, prompt, target], ensure_ascii=True).encode()).hexdigest()
        return self.root / key[:2] / f"{key}.answer.json"


def _read(file: Path) -> bool | None:
    """What the file says; None where there is none, or none that can be read."""
    try:
        found = json.loads(file.read_bytes())["already_true"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, bool) else None
