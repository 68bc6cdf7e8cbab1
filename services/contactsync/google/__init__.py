"""Google: its port, the client of the People API, signing in, and the mapping between its JSON and a contact."""
