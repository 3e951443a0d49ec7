"""Reads files of edits: one module per format, all torch-free. Knows no service and no tokenizer."""
