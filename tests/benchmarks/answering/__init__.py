"""Benchmarks of answering, each with its comparison."""
