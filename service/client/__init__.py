"""The Python clients of Errata's HTTP API, blocking and on asyncio; ``errata.client`` is the public way in."""
