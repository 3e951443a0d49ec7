"""Questions to a model: scores, continuations, the probe set, perplexity, and the answers of the original model."""
