"""The fast search for z by gradient descent. ``objective`` has its loss; ``plain`` is the same search, written simply.

Searches are independent and Adam works elementwise, so many searches share one graph whose loss is their sum. Each
stops on its own, at the last δ with a computed loss, and leaves its rows' room to the next search. Knows no files.
"""

# Dims: G groups (one δ each), E edits of a group, H hidden size.

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

import torch

from editing_core.errors import ErrataError
from editing_core.memit.config import MemitConfig
from editing_core.memit.search.memory import is_out_of_memory, rows_that_fit
from editing_core.memit.search.pool import Prepare, SearchPool, Target
from editing_core.memit.search.prepare import SearchModel, prepare_batch
from editing_core.memit.search.rows import GroupRows
from editing_core.models.load import LoadedModel

logger = logging.getLogger(__name__)


class SearchDiverged(ErrataError):
    """A search whose loss or gradient is not finite, even when it runs alone."""

    slug = "search-diverged"
    title = "The search for an edit's target met numbers that are not finite"

    def __init__(self, group: int, num_diverged: int) -> None:
        super().__init__(
            f"the model's loss or its gradient is not finite ({num_diverged} searches): its activations overflow in"
            " this dtype; use bfloat16 or float32"
        )
        self.group = group


class SearchTooLarge(ErrataError):
    """One subject's rows that do not fit into memory."""

    slug = "search-too-large"
    title = "The edits about one subject need more memory than there is"

    def __init__(self, group: int, num_rows: int) -> None:
        super().__init__(
            f"the {num_rows} rows of its edits, which are searched together, do not fit into memory: take out some"
            " edits about this subject, or free memory"
        )
        self.group = group


def search_targets(
    loaded: LoadedModel,
    groups: Sequence[GroupRows],
    config: MemitConfig,
    *,
    batch_rows: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_found: Callable[[int, Target], None] = lambda index, target: None,
    prepare: Prepare = prepare_batch,
) -> list[Target]:
    """Search z for every group, the longest rows first. The results have the order of ``groups``.

    ``batch_rows``: rows searched at once; None: as many as fit into memory. If they do not fit, the search continues
    with half as many and logs a warning. ``on_found(index, target)`` is called with each result immediately;
    ``on_progress(done, total)`` counts edits and may raise to stop the work. ``prepare`` runs
    the parts of searches that start together, and raises ``torch.OutOfMemoryError`` if they do not fit.

    A non-finite number spreads to all rows of its bin, whatever the mask. The affected searches leave the batch and
    start again alone. If a search also diverges alone, SearchDiverged is raised with the group's number after all
    others are done. Raises SearchTooLarge if the rows of a single group do not fit into memory.
    """
    waiting = deque(sorted(range(len(groups)), key=lambda i: (-groups[i].longest, i)))
    room = batch_rows or rows_that_fit(loaded, groups, target_layer=config.target_layer)
    model = SearchModel.of(loaded, target_layer=config.target_layer)
    found: dict[int, Target] = {}

    def note(index: int, target: Target) -> None:
        found[index] = target
        on_found(index, target)

    suspects: list[int] = []
    while waiting:
        search = SearchPool(model, groups, config, waiting, room=room, prepare=prepare, note=note)
        try:
            search.run(lambda partly: _report_progress(groups, found, partly, on_progress))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(search.active) <= 1:
                raise SearchTooLarge(search.active[0], search.num_rows) from error
            room = max(1, search.num_rows // 2)
            waiting.extendleft(reversed(search.active))
            logger.warning("%d rows of searches for z do not fit into memory: going on with %d", search.num_rows, room)
        suspects += search.suspects
        del search
        if loaded.device.type == "cuda":
            torch.cuda.empty_cache()
    _search_alone(model, groups, config, suspects, note=note)
    _report_progress(groups, found, 0.0, on_progress)
    return [found[i] for i in range(len(groups))]


def _search_alone(
    model: SearchModel,
    groups: Sequence[GroupRows],
    config: MemitConfig,
    suspects: Sequence[int],
    *,
    note: Callable[[int, Target], None],
) -> None:
    diverged = []
    for index in suspects:
        search = SearchPool(model, groups, config, deque([index]), room=1, note=note)
        search.run(lambda partly: None)
        diverged += search.suspects
    if diverged:
        raise SearchDiverged(diverged[0], len(diverged))


def _report_progress(
    groups: Sequence[GroupRows], found: dict[int, Target], partly: float, on_progress: Callable[[int, int], None]
) -> None:
    done = sum(len(groups[i].edits) for i in found)
    on_progress(done + int(partly), sum(len(group.edits) for group in groups))
