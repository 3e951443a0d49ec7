"""What tests share: tiny models, and real processes to talk to."""
