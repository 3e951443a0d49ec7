"""The ``errata`` command: a thin client of the HTTP API that also starts Errata's processes."""
