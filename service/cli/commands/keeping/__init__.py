"""Commands around what is kept: exports, records, backups."""
