"""OpenAI's completions API over Errata's versions, so OpenAI's clients work unchanged."""
