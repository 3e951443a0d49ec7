"""A small synchronous Python client of Errata's HTTP API: ``from service.client.client import ErrataClient``."""
