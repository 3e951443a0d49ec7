"""What must not change: guards, protected neighbours, edits that are already true, and what the solve does for them."""
