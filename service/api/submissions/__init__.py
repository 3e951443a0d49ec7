"""Submissions: reading a batch of edits from a body, and handing it to the ledger."""
