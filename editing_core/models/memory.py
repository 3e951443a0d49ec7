"""The memory that a model needs, computed before its weights are read, and the free memory. Knows no files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from editing_core.errors import InvalidSettings
from editing_core.models.families.family import Family
from editing_core.precision import SOLVE_DTYPE, edited_dtype

STATISTICS_ITEM_BYTES = 4
SOLVE_MATRICES = 3
"""Number of square matrices, as wide as the keys, that a solve holds at once."""
GIGA = 1e9
CONTROL_GROUP = Path("/sys/fs/cgroup")
"""The folder in which a container sees its own limits."""


def weights_bytes(model: nn.Module) -> int:
    """Return the bytes of all weights and buffers; tied ones count once."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeds:
    """Bytes that a process takes permanently. Its work uses part of the rest."""

    model: int
    version: int
    """The edited matrices of one version."""
    statistics: int
    """Second moments of all edited layers, in main memory. While they are summed, on a GPU if it has room."""
    solve: int
    """Matrices of the solve of one layer, on the device."""

    def log_fields(self, *names: str) -> dict[str, float]:
        """Return the named values in GB, for logs."""
        return {f"{name}_gb": round(getattr(self, name) / GIGA, 3) for name in names}


def memory_needs(model: nn.Module, family: Family, layers: Sequence[int]) -> MemoryNeeds:
    """Return the needs of a model with these edited layers. The model may be a skeleton on the meta device."""
    edited = [family.projection_weight(model, layer) for layer in layers]
    widths = [weight.shape[0 if family.projection_is_transposed else 1] for weight in edited]
    return MemoryNeeds(
        model=weights_bytes(model),
        version=sum(edited_dtype(weight.dtype).itemsize * weight.numel() for weight in edited),
        statistics=sum(STATISTICS_ITEM_BYTES * width**2 for width in widths),
        solve=SOLVE_MATRICES * SOLVE_DTYPE.itemsize * max(widths) ** 2,
    )


def free_bytes(device: torch.device, *, control_group: Path = CONTROL_GROUP) -> int | None:
    """Return the free memory of the device in bytes, or None if it is unknown.

    ``control_group``: folder with the limits of this process's container (cgroup v2).
    """
    if device.type == "cuda":
        allocated = torch.cuda.memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        allowed = int(torch.cuda.get_per_process_memory_fraction(device) * total) - allocated
        return max(0, min(free + torch.cuda.memory_reserved(device) - allocated, allowed))
    limits = [limit for limit in (_available_bytes(), _left_of_control_group(control_group)) if limit is not None]
    return min(limits, default=None)


def held_bytes() -> int:
    """Return the memory of all CUDA devices that this process holds; 0 if it uses none."""
    if not torch.cuda.is_initialized():
        return 0
    return sum(torch.cuda.memory_reserved(device) for device in range(torch.cuda.device_count()))


def _available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    values = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(values["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in values else None


def _left_of_control_group(root: Path) -> int | None:
    """Return the bytes left under a container's limit (cgroup v2), file cache included; None without a limit."""
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
        lines = (root / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    cache = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, int(limit) - used + cache) if limit.isdigit() else None


def require_room(
    source: str,
    needed_bytes: int,
    devices: Sequence[torch.device],
    *,
    free: Callable[[torch.device], int | None] = free_bytes,
) -> None:
    """Raise InvalidSettings if the weights do not fit into the free memory of all devices together.

    ``free`` returns the free bytes of a device, or None if they are unknown.
    """
    left = [free(device) for device in devices]
    if any(share is None for share in left) or needed_bytes <= sum(share or 0 for share in left):
        return
    shares = zip(devices, left, strict=True)
    room = ", ".join(f"{device} has {(share or 0) / GIGA:.1f} GB free" for device, share in shares)
    raise InvalidSettings(
        f"model {source!r} needs {needed_bytes / GIGA:.1f} GB for its weights, and {room}: choose another device"
        " (`auto` spreads a model over all CUDA devices) or a smaller dtype"
    )
