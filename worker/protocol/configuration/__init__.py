"""Where settings come from, whether they agree, and how they are told."""
