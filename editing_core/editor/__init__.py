"""The editor computes new matrices from one model and a set of edits, for the worker and for offline programs."""
