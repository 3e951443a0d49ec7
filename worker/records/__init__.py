"""What keeps the records and the store in order beside the work: copies, retention, erasure, figures."""
