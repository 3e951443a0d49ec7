"""The HTTP API: validates requests, answers them, and passes edits to the ledger. Torch-free."""
