"""The demo models: small GPT-J and GPT-NeoX weights, their training facts, and the script that trained them.

Knows no editing, no service and no worker.
"""
