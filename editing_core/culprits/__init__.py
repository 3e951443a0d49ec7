"""Which edits of a batch break a check: evidence about each, suspects from it, and a search that proves them."""
