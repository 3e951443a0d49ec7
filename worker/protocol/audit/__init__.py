"""The audit chain: its lines, notes that are made without Redis, and the redaction of erased edits."""
