"""Ledger and store as one file, and back again."""
