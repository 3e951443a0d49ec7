"""HTTP in: validates, answers, and hands edits to the ledger; torch-free."""
