from .world import GoogleAccount, Office, World

__all__ = ["GoogleAccount", "Office", "World"]
