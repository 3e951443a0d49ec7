"""The bodies of requests, which refuse unknown fields, and of responses, as OpenAPI describes them."""
