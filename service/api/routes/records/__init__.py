"""Routes to what is kept to look back on: the audit, what stays, what is erased."""
