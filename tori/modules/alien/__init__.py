"""Alarms: significant departures of a concept's activity from its own past."""

from tori.modules.alien.module import Alien

__all__ = ["Alien"]
