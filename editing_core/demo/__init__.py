"""The demo model: small GPT-J and GPT-NeoX weights, the facts they were trained on, and the script that made them.

Knows nothing of editing, of the service or of the worker.
"""
