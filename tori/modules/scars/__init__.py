"""Gaps: loops of related documents with nothing in the middle, wider than chance allows."""

from tori.modules.scars.module import Scars
from tori.modules.scars.settings import ScarSettings

__all__ = ["ScarSettings", "Scars"]
