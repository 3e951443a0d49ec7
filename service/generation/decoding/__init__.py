"""The decode loop: places, their cached keys and values, and the choice of each next token."""
