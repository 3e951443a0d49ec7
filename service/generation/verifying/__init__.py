"""What is in memory, computed from what is in memory."""
