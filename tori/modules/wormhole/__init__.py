"""Bridges between documents that are similar, far apart, and joined by more than chance."""

from tori.modules.wormhole.module import Wormhole
from tori.modules.wormhole.settings import WormholeSettings

__all__ = ["Wormhole", "WormholeSettings"]
