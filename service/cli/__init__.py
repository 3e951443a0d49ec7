"""The ``errata`` command: a thin client of the HTTP API, and the starter of Errata's processes."""
