"""What both sides of the queue agree on; torch-free."""
