"""The commit: ready batches become a checked, written and published version."""
