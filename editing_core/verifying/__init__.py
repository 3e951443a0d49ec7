"""Whether a store's files, and the weights in memory, are what was written."""
