"""What every service stands on: the bus, mailboxes and ownership, state, settings, logs and metrics."""
