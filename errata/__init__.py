"""Errata from Python: the package to import from."""
