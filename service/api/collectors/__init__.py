"""Metrics that are read on each scrape: of the ledger, of its Redis, and of the checks of the live version."""
