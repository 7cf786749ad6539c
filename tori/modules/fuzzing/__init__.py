"""Metamorphic checks of every module on shadow copies of live state."""

from tori.modules.fuzzing.module import Fuzzing
from tori.modules.fuzzing.target import FuzzTarget, allow

__all__ = ["FuzzTarget", "Fuzzing", "allow"]
