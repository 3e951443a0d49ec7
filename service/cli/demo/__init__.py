"""``make demo``: shows an edit from end to end on the demo model, in the terminal."""
