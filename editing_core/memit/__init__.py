"""MEMIT: contexts, targets (z), keys, the solve and the editor that joins them; reads like the paper."""
