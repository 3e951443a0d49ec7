"""Exports as the worker makes them: one at a time, under a lease."""
