"""Contactsync: keeps Planfix filters and Google Contacts labels the same, both ways."""
