"""Answers prompts with the loaded model's versions, while versions are promoted and unloaded."""
