"""The orchestrator's pure machines: lifecycle with supervision, and routing."""
