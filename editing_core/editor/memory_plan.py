"""Plans the memory that a process will need for a model. Reads files and settings, but loads no weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from editing_core.memit.config import MemitConfig, SolveOverrides, configure, preset
from editing_core.models.families.family import Family
from editing_core.models.load import devices_named, dtype_named, family_at, skeleton
from editing_core.models.location import resolve_model_path
from editing_core.models.memory import GIGA, MemoryNeeds, free_bytes, memory_needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The memory that a model needs, and its devices."""

    needs: MemoryNeeds
    devices: tuple[torch.device, ...]

    def log_fields(self, *names: str) -> dict[str, float | str]:
        """Return the named needs (see ``MemoryNeeds``) and the free memory in GB, for logs."""
        free = {str(device): free_bytes(device) for device in self.devices}
        known = {f"free_gb_{name}": round(size / GIGA, 1) for name, size in free.items() if size is not None}
        return {"device": ", ".join(map(str, self.devices)), **self.needs.log_fields(*names), **known}


def outlook(source: str, *, device: str | None, dtype: str | None, layers: str | None = None) -> Outlook:
    """Read the needs from the headers of the model's files. Raises the errors of ``load_model``."""
    path = resolve_model_path(source)
    family, devices = family_at(path), devices_named(device)
    outline = skeleton(path, dtype_named(dtype, devices[0]))
    edited = _edited(family, family.num_layers(outline), outline.config.hidden_size, layers)
    return Outlook(needs=memory_needs(outline, family, edited.layers), devices=tuple(devices))


def _edited(family: Family, num_layers: int, hidden_size: int, layers: str | None) -> MemitConfig:
    base = preset(family.model_type, num_layers=num_layers, hidden_size=hidden_size)
    return configure(base, num_layers=num_layers, overrides=SolveOverrides(layers=layers))
