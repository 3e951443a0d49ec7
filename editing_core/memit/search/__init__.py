"""The search for z: what is computed once, what a step needs, and how much of it fits into memory."""
