"""One small file per model family, and the registry that knows them all."""
