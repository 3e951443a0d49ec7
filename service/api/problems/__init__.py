"""Every refusal as a problem document (RFC 9457): its kinds, their statuses, how it is rendered, what raises it."""
