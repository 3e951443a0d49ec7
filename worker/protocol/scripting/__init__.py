"""The connection that runs the ledger's Lua scripts, and what every script begins with."""
