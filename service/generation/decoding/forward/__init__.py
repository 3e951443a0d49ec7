"""Calls of the model: prompts read in chunks, one token for every place, and the keys and values behind them."""
