"""Authorization: API keys and their scopes."""
