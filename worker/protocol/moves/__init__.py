"""The ledger's moves, by what they move; ``worker.protocol.ledger`` puts them together."""
