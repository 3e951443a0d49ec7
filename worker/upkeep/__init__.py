"""The upkeep thread: file copies, retention, cleanup of z files, erasure, and sizes."""
