"""Asks a model questions: scores, continuations, the probe set, perplexity, and the answers of the original model."""
