"""The editor turns a set of edits and one model into new matrices, for the worker and for offline programs."""
