"""Settings: every knob with its unit and the reason for its default, from ``tori.toml``, ``TORI_`` variables and callers."""

from tori.settings.describe import Row
from tori.settings.load import FILE, load_settings
from tori.settings.section import Settings

__all__ = ["FILE", "Row", "Settings", "load_settings"]
