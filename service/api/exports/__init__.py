"""Exports over HTTP: asking for one, and following it."""
