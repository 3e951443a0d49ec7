"""The decode loop: places, their cached keys and values, and the selection of each next token."""
