"""How many tokens each stage runs for given edits: as the core lays them out, and as few as would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from editing_core.asking.continuations import NUM_TOLD_TOKENS
from editing_core.asking.scoring import batches_by_length
from editing_core.checks.edit_reports import EditQuestions, Pair, ask_about
from editing_core.edits import AcceptedEdit
from editing_core.memit.first_layer_inputs import KeptReads, chunk_size
from editing_core.memit.keys import run_length
from editing_core.memit.search.packing import Extent, Packing, pack
from editing_core.memit.search.prepare import WHOLE_ROW_BIN_TOKENS
from editing_core.memit.search.rows import GroupRows, RowPlan, plan_rows
from editing_core.memit.tokens import EditRows, target_ids
from editing_core.neighbors import NeighborPicker
from tests.benchmarks.arithmetic import Pass, SearchLayout, SweepLayout, Tokens

SCORING_ROWS, WRITING_ROWS, PROBE_ROWS, WINDOW_ROWS = 32, 64, 32, 16
WINDOW_TOKENS = 128


def search_batches(groups: Sequence[GroupRows], *, room: int) -> Iterator[list[GroupRows]]:
    """The searches that begin together where none stops early."""
    batch: list[GroupRows] = []
    for group in sorted(groups, key=lambda group: -group.longest):
        if batch and sum(one.num_rows for one in batch) + group.num_rows > room:
            yield batch
            batch = []
        batch.append(group)
    yield batch


def packed_search(groups: Sequence[GroupRows]) -> SearchLayout:
    """A batch of searches in its bins, padding included."""
    extents = _extents(groups)
    whole = pack([Extent(e.shared, e.num_own + e.num_suffix, 0) for e in extents], bin_tokens=WHOLE_ROW_BIN_TOKENS)
    packing = pack(extents)
    suffix = packing.num_bins * packing.num_suffix
    return SearchLayout(
        whole=_prefix_tokens(whole),
        prefix=_prefix_tokens(packing),
        suffix=Tokens(suffix, suffix * (packing.num_prefix + packing.num_suffix)),
        asked=sum(group.num_asks for group in groups),
    )


def needed_search(groups: Sequence[GroupRows]) -> SearchLayout:
    """The same without padding, each context's first tokens once."""
    extents = _extents(groups)
    shared = sum(map(len, {extent.shared for extent in extents}))
    own = sum(extent.num_own for extent in extents)
    suffix = sum(extent.num_suffix for extent in extents)
    seen_by_own = sum(_pairs(len(e.shared), e.num_own) for e in extents)
    seen_by_suffix = sum(_pairs(len(e.shared) + e.num_own, e.num_suffix) for e in extents)
    return SearchLayout(
        whole=Tokens(shared + own + suffix, seen_by_own + seen_by_suffix),
        prefix=Tokens(shared + own, seen_by_own),
        suffix=Tokens(suffix, seen_by_suffix),
        asked=sum(group.num_asks for group in groups),
    )


def padded_sweep(edits: Sequence[EditRows], device: torch.device) -> SweepLayout:
    """Keys and residuals of edits in canonical order, padded as they run together."""
    contexts, bare = Tokens(0, 0), Tokens(0, 0)
    for chunk in KeptReads().chunks([edit.prompts for edit in edits], chunk_size(device)):
        for c in range(len(chunk[0])):
            together = _rows(len(chunk), run_length(rows[c].lookup + 1 for rows in chunk))
            contexts += together
            bare += together if c == 0 else Tokens(0, 0)
    return SweepLayout(contexts, bare)


def needed_sweep(edits: Sequence[EditRows]) -> SweepLayout:
    """The same without padding."""
    lengths = [[row.lookup + 1 for row in edit.prompts] for edit in edits]
    contexts = sum((Tokens(n, _pairs(0, n)) for rows in lengths for n in rows), start=Tokens(0, 0))
    return SweepLayout(contexts, sum((Tokens(rows[0], _pairs(0, rows[0])) for rows in lengths), start=Tokens(0, 0)))


def asked_in_checks(
    model: nn.Module,
    tokenizer: Any,
    edits: Sequence[AcceptedEdit],
    *,
    probes: Sequence[Sequence[int]],
    num_heldout: int,
    seed: int,
) -> tuple[Pass, Pass]:
    """What the parent (the original itself) and the candidate are asked, where all edits are new and no row ends early.

    Of the model only the length of its context is read.
    """
    picker = NeighborPicker(edits, [tokenizer.decode(ids) for ids in probes], seed=seed)
    new = [ask_about(model, tokenizer, accepted, picker.pick(accepted.edit)) for accepted in edits]
    before = [pair for q in new for pair in (*q.prompt_pairs(), *q.neighbor_pairs())]
    after = before + [pair for q in new for pair in (*q.paraphrase_pairs(), *_believed(q))]
    windows = [min(WINDOW_TOKENS, num_heldout - i) for i in range(0, num_heldout - 1, WINDOW_TOKENS)]
    return _scored(tokenizer, before), _together([
        _scored(tokenizer, after),
        _written(tokenizer, list(dict.fromkeys(prompt for q in new for prompt in q.prompts))),
        _padded([len(probe) for probe in probes], PROBE_ROWS, asked=len(probes)),
        _padded(windows, WINDOW_ROWS, asked=sum(windows) - len(windows)),
    ])


def _extents(groups: Sequence[GroupRows]) -> list[Extent]:
    plans = [plan for i, group in enumerate(groups) for plan in plan_rows(i, group)]
    members: dict[int, list[RowPlan]] = {}
    for plan in plans:
        members.setdefault(plan.context, []).append(plan)
    common = {c: _common_start([p.ids[: p.row.lookup] for p in rows]) for c, rows in members.items()}
    return [Extent(common[p.context], p.row.lookup - len(common[p.context]), len(p.ids) - p.row.lookup) for p in plans]


def _common_start(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(ids[0] for ids in takewhile(lambda ids: len(set(ids)) == 1, zip(*rows, strict=False)))


def _prefix_tokens(packing: Packing) -> Tokens:
    return _rows(packing.num_bins, packing.num_prefix)


def _rows(num_rows: int, length: int) -> Tokens:
    return Tokens(num_rows * length, num_rows * length * length)


def _pairs(num_before: int, num_tokens: int) -> int:
    """Pairs of places where each token sees those before it and itself."""
    return num_tokens * num_before + num_tokens * (num_tokens + 1) // 2


def _believed(questions: EditQuestions) -> Iterator[Pair]:
    """Which token it is does not matter."""
    return ((question.prompt, 0) for question in questions.neighbors if question.target is None)


def _scored(tokenizer: Any, pairs: Sequence[Pair]) -> Pass:
    """Each different pair once; what begins another row is read from that one."""
    inputs, asked = [], 0
    for prompt, target in dict.fromkeys(pairs):
        targets = [target] if isinstance(target, int) else target_ids(tokenizer, prompt, target)
        inputs.append([*tokenizer(prompt)["input_ids"], *targets[:-1]])
        asked += len(targets)
    lengths: list[int] = []
    longer: list[int] = []
    for ids in sorted(inputs, reverse=True):
        if longer[: len(ids)] != ids:
            lengths.append(len(ids))
            longer = ids
    return _padded(lengths, SCORING_ROWS, asked=asked)


def _written(tokenizer: Any, prompts: Sequence[str]) -> Pass:
    """Prompts, and the tokens after them one by one."""
    lengths = [len(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    passes = []
    for batch in batches_by_length(lengths, WRITING_ROWS):
        longest = max(lengths[i] for i in batch)
        later = [longest + step for step in range(1, NUM_TOLD_TOKENS)]
        tokens = _rows(len(batch), longest) + Tokens(len(batch) * len(later), len(batch) * sum(later))
        passes.append(Pass(tokens, len(batch) * NUM_TOLD_TOKENS, NUM_TOLD_TOKENS))
    return _together(passes)


def _padded(lengths: Sequence[int], num_rows: int, *, asked: int) -> Pass:
    batches = [[lengths[i] for i in batch] for batch in batches_by_length(lengths, num_rows)]
    tokens = sum((_rows(len(batch), max(batch)) for batch in batches), start=Tokens(0, 0))
    return Pass(tokens, asked, len(batches))


def _together(passes: Sequence[Pass]) -> Pass:
    return Pass(
        sum((one.tokens for one in passes), start=Tokens(0, 0)),
        sum(one.asked for one in passes),
        sum(one.num_calls for one in passes),
    )
