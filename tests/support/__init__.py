"""Shared parts of the tests: tiny models and real processes."""
