"""The command line: ``tori ...``."""
