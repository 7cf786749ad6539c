"""The orchestrator's pure machines: lifecycle with supervision, routing, and the cascade as data."""
