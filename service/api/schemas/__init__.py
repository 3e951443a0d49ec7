"""What goes over the wire: requests are strict and know no other fields, answers are what OpenAPI says they are."""
