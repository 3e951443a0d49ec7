"""Which versions are in memory, which one is live, and who descends from whom."""
