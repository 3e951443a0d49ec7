"""Metrics that are read on each scrape: the ledger, its Redis, and the checks of the live version."""
