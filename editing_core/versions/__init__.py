"""What a version of the weights is, in memory (views) and on disk (the store)."""
