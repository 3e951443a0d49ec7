"""Exports in the ledger: what was asked for, and how far it is."""
