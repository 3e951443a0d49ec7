"""OpenAI's completions API over Errata's versions, so that its clients work unchanged."""
