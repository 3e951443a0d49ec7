"""The ledger: accepted batches, their progress, and the live version. All processes share it."""
