"""The Planfix watcher: the one scheduler that reads the account for all filters and says what it saw."""
