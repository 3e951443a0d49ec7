"""Guards in the ledger."""
