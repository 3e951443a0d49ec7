"""One small file per model family, and the registry of all families."""
