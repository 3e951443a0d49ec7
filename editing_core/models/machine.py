"""The circumstances that determine the last bits of a result: libraries, threads, processor and device."""

from __future__ import annotations

import platform

import torch
import transformers


def circumstances(device: torch.device) -> dict[str, str | int]:
    """Return the circumstances of this process, for a model on ``device``."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
        "num_threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "device": name,
    }
