"""The map: nested communities of documents at several scales, each with a name that can be checked."""

from tori.modules.hierarchy.module import Hierarchy

__all__ = ["Hierarchy"]
