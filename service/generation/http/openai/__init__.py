"""OpenAI's completions API over Errata's versions, so that OpenAI's clients work unchanged."""
