"""The ledger's format: its number, and the way from an older one."""
