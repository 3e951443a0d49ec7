"""The editing mathematics and its artefacts: torch and files; knows no HTTP, no Redis, no environment."""
