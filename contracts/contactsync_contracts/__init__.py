"""The typed contracts between the services."""
