"""The gateway: activation over HTTP, Planfix's webhook, and the questions that need a vendor's answer."""
