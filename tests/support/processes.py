"""Whether a process still does anything."""

from __future__ import annotations

import psutil


def is_alive(pid: int) -> bool:
    """False for a zombie too: who would have to reap it may never do so."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
