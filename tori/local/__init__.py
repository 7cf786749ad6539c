"""The whole mind in one process: the same machines and modules, no Ray."""

from tori.local.system import LocalSystem

__all__ = ["LocalSystem"]
