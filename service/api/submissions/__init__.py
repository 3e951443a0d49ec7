"""Submissions: parsing a batch of edits from a body, and passing it to the ledger."""
