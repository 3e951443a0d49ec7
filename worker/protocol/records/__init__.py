"""What the ledger keeps for people to look back on: the audit chain, pins, erasure, and dumps of itself."""
