"""The fast search for z: preparation, steps, layout of rows, and use of memory."""
