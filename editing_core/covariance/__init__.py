"""The artefacts that are computed once per model: contexts, second moments of the keys, probe set, held-out text."""
