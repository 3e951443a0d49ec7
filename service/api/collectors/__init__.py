"""What the API reads for Prometheus when it is asked: the ledger, its Redis, the live version's checks."""
