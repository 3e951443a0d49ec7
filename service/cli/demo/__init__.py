"""``make demo``: the whole story end to end on the demo model, told on the terminal."""
