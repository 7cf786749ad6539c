"""The reader: key phrases become concepts, documents get their place in meaning space."""

from __future__ import annotations

from tori.modules.reader.module import Reader

__all__ = ["Reader"]
