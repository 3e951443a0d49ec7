"""Verifies that the files of a store and the weights in memory equal the written ones."""
