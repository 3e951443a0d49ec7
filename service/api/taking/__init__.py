"""Taking a batch in: reading it, what it does to the live set, and the answer."""
