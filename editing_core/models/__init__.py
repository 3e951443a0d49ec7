"""Describes each model family, and loads models and runs parts of them."""
