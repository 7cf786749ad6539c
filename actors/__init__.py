"""Thin Ray shells around the machines and modules of ``tori``; nothing in ``tori`` imports from here."""
