"""The tiny model whose versions are asked."""

from __future__ import annotations

from tests.support.tiny_loaded import tiny_loaded

LOADED = tiny_loaded("gptj")
