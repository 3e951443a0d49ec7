"""Estimates how many rows of searches fit into memory at once, and recognises out-of-memory errors. Knows no edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from editing_core.memit.search.rows import GroupRows
from editing_core.models.load import LoadedModel
from editing_core.models.memory import free_bytes

CPU_ROWS = 448
"""64 edits of six contexts and a guarding row. On a few cores, more rows at once are no faster."""
CUDA_ROWS = 14_000
"""2,000 edits. The speed stops improving far below this number."""
SHARE_OF_FREE = 0.5
"""The rest is a reserve for low estimates and for other programs on the device."""
SAVED_PER_TOKEN = 32
"""Numbers per token, block and unit of hidden size that a step keeps for the backward pass. Saved-tensor hooks measured
15 to 29 in float32 and bfloat16 for the four families, including the padding of bins."""


OUT_OF_MEMORY_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Parts of the messages of out-of-memory errors that torch raises as a plain RuntimeError."""


def rows_that_fit(
    loaded: LoadedModel,
    groups: Sequence[GroupRows],
    *,
    target_layer: int,
    free: Callable[[torch.device], int | None] = free_bytes,
) -> int:
    """Return the number of rows to search at once: as many as are estimated to fit, up to the useful maximum.

    ``free`` returns the free bytes of a device, or None if they are unknown.
    """
    most = CUDA_ROWS if loaded.device.type == "cuda" else CPU_ROWS
    left = free(loaded.device)
    if left is None or not groups:
        return most
    return max(1, min(most, int(SHARE_OF_FREE * left / _bytes_per_row(loaded, groups, target_layer))))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether a step failed because memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY_WORDS)


def _bytes_per_row(loaded: LoadedModel, groups: Sequence[GroupRows], target_layer: int) -> float:
    num_blocks = loaded.family.num_layers(loaded.model) - 1 - target_layer
    longest = max(groups, key=lambda group: group.longest)
    suffix = max(group.longest_suffix for group in groups)
    per_block = 2 * longest.longest + SAVED_PER_TOKEN * suffix
    asked = 3 * 4 * loaded.vocabulary_size * max(group.num_asks / group.num_rows for group in groups)
    return float(num_blocks * per_block * loaded.hidden_size * loaded.dtype.itemsize + asked)
