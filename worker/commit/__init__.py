"""The commit: turns ready batches into a checked, written and published version."""
