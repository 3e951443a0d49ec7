"""Calls of the model: prompts in chunks, one token for every place, and the cached keys and values."""
