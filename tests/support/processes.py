"""Whether a process is still running."""

from __future__ import annotations

import psutil


def is_alive(pid: int) -> bool:
    """False for a zombie too, because its parent may never reap it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
