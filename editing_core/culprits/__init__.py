"""Finds the edits of a batch that break a check: evidence, suspects from it, and a search that proves them."""
