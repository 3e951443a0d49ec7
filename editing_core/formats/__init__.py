"""Reads files of edits: one module per format, all torch-free. Depends on neither the service nor a tokenizer."""
