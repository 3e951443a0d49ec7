"""Problem documents (RFC 9457) for all refusals: kinds, statuses, rendering and exception handlers."""
