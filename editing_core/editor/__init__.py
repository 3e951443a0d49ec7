"""The editor: a set of edits and one model in, new matrices out. The worker and ``errata evaluate`` share it."""
