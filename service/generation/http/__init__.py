"""The routes of generation, Errata's own and OpenAI's, with their request and response models."""
