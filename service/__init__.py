"""The HTTP service: the API, the generation engine, the client and the command line."""
