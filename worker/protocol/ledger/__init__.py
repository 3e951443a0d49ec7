"""The ledger: what was accepted, how far it is, and what is live. All processes share it."""
