"""The Google watcher: polls each account for what changed and answers looks, to the filters of that account."""
