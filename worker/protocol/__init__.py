"""The contract between the two sides of the queue. Torch-free."""
