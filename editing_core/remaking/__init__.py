"""A store's version solved anew into another folder: on the same model (rebuild) or on another (migrate)."""
