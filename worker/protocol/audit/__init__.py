"""The audit chain: its lines, notes made without Redis, and the redaction of erased edits."""
