"""HTTP in, answers out: the API, the generation engine, the client and the command line."""
