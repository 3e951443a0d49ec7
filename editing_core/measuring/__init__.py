"""Evaluates a file of edits: the campaign, its metrics, and the command ``errata evaluate``."""
