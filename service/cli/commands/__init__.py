"""The subcommands of ``errata``, one file per kind."""
