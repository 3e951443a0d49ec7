"""The web console: static pages for people, which use the public HTTP API like any other client."""
