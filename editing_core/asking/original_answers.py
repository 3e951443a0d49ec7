"""Whether edits are already true for the original model, stored on disk under everything that changes the answer.

All batches have the same number of rows; smaller ones are padded. So the other rows of a batch cannot tip a close
decision. Each pair is asked only once, so the decision stays the same. An unreadable file is replaced. Knows no edits.
"""

# Dims: R rows of a batch, all with T tokens, P predicted tokens of a row, H hidden size.

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from editing_core.asking.scoring import final_hidden, head_of, prompt_ids
from editing_core.durable import write_durably, write_once
from editing_core.memit.tokens import target_ids
from editing_core.models.load import LoadedModel

BATCH_ROWS = 16
_SUFFIX = ".answer.json"
Pair = tuple[str, str]
"""A prompt and its target."""


@dataclass(frozen=True, slots=True)
class OriginalAnswers:
    """The answers of the original model, kept in the folder of the z files."""

    loaded: LoadedModel
    root: Path
    _known: dict[Pair, bool] = field(default_factory=dict)

    def given(self, pairs: Iterable[Pair]) -> frozenset[Pair]:
        """Return the pairs whose target greedy decoding gives after the prompt. Raises InvalidPrompt, OSError."""
        wanted = dict.fromkeys(pairs)
        unread = [pair for pair in wanted if pair not in self._known]
        self._known.update((pair, kept) for pair in unread if (kept := _read(self._file(pair))) is not None)
        for pair, answer in self._ask([pair for pair in unread if pair not in self._known]):
            self._known[pair] = self._keep(pair, answer)
        return frozenset(pair for pair in wanted if self._known[pair])

    def _ask(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, bool]]:
        """Yield each pair, and whether greedy decoding gives its target."""
        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        by_length: defaultdict[int, list[tuple[Pair, list[int], list[int]]]] = defaultdict(list)
        for pair in pairs:
            target = target_ids(tokenizer, *pair)
            ids = prompt_ids(model, tokenizer, pair[0], num_new=len(target)) + target[:-1]
            by_length[len(ids)].append((pair, ids, target))
        for rows in by_length.values():
            for first in range(0, len(rows), BATCH_ROWS):
                batch = rows[first : first + BATCH_ROWS]
                targets = [target for _, _, target in batch]
                yield from zip(
                    (pair for pair, _, _ in batch), self._matches([ids for _, ids, _ in batch], targets), strict=True
                )

    @torch.no_grad()
    def _matches(self, rows: Sequence[list[int]], targets: Sequence[list[int]]) -> list[bool]:
        filled = [*rows, *[rows[-1]] * (BATCH_ROWS - len(rows))]
        ids_RT = torch.tensor(filled, device=self.loaded.device)
        hidden_RTH = final_hidden(self.loaded.model, ids_RT, torch.ones_like(ids_RT))
        head, found = head_of(self.loaded.model), []
        for hidden_TH, target in zip(hidden_RTH, targets, strict=False):
            logits_PV = head(hidden_TH[-len(target) :])
            found.append(bool(logits_PV.isfinite().all()) and logits_PV.argmax(-1).tolist() == target)
        return found

    def _keep(self, pair: Pair, answer: bool) -> bool:
        """Store the answer. If another process has stored one first, that answer counts."""
        file, content = self._file(pair), json.dumps({"already_true": answer}).encode()
        if file.exists():
            write_durably(file, lambda path: path.write_bytes(content))
        else:
            write_once(file, content)
        return bool(_read(file))

    def _file(self, pair: Pair) -> Path:
        model = f"{self.loaded.fingerprint} {self.loaded.dtype}"
        key = hashlib.sha256(json.dumps([model, *pair], ensure_ascii=True).encode()).hexdigest()
        return self.root / key[:2] / f"{key}{_SUFFIX}"


def damaged_answers(root: Path) -> Iterator[Path]:
    """Yield the answer files that cannot be read, sorted by name. Changes no file."""
    for path in sorted(root.glob(f"*/*{_SUFFIX}")):
        if _read(path) is None and path.exists():  # otherwise another process has removed it
            yield path


def _read(file: Path) -> bool | None:
    """Return the answer in the file, or None if the file is missing or cannot be read."""
    try:
        found = json.loads(file.read_bytes())["already_true"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, bool) else None
