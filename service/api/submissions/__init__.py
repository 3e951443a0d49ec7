"""Parses batches of edits from bodies and passes them to the ledger."""
