"""What a figure was measured on, in a line."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch


def machine(device: torch.device) -> str:
    """Processor or graphics card, torch's threads and version, Python's version, date."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    today = datetime.now(UTC).date().isoformat()
    return f"{where}, torch {torch.__version__}, Python {platform.python_version()}, {today}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    return f"{name} ({platform.machine()}), {os.cpu_count()} cores, {torch.get_num_threads()} threads"
