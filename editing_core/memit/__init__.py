"""MEMIT as in the paper: contexts, targets (z), keys, the solve, and the update that joins them."""
