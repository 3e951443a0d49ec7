"""What Errata must know of each model family, and how a model is loaded and run in parts."""
