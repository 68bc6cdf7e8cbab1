"""The writer carries mutations out on one target, Planfix or a Google account, and settles them."""
