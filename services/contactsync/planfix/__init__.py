"""Planfix: its port, the client of its REST API, and the mapping between its JSON and the canonical contact."""
