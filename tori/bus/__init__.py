"""Delivery: how the facts of one module reach the others."""
