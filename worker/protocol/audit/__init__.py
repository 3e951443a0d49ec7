"""The audit chain as text: its lines, notes made without Redis, and the redaction of erased edits."""
