"""TORI: a durable typed event bus, and a mind over a growing body of text."""

__version__ = "0.1.0"

__all__ = ["__version__"]
