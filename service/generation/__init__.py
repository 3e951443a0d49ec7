"""Answers prompts with versions of the loaded model. Answers continue while versions are promoted and unloaded."""
