"""Backs up ledger and store into one file, and restores them from it."""
