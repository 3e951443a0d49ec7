"""The connection that runs the ledger's Lua scripts, and the prelude of every script."""
