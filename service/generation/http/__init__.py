"""The routes that ask the model, Errata's own and OpenAI's, and what goes over the wire."""
