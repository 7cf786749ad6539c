"""The cases, one file a door."""
