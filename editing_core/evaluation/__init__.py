"""What a model says before and after: scores, continuations, metrics, and the checks of a candidate."""
