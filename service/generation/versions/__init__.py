"""The versions in memory, the one that is live, and the resolution of ``min_version``."""
