"""Braid memory: threads of documents in time, crossings between them, and recall."""

from tori.modules.braid.module import Braid

__all__ = ["Braid"]
