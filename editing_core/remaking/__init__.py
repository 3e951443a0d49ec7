"""Solves a version again into another folder: on the same model (rebuild) or on another (migrate)."""
