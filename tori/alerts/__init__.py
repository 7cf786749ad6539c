"""Alerts that leave the system: which events, to whom, until they arrive."""
