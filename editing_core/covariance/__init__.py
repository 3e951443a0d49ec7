"""What must be known once per model: contexts, second moments of the keys, probe set, held-out text."""
