from __future__ import annotations


class Checkpoints:
    def __init__(self, *a): pass
    def save_last(self, name): pass
    def take(self): return {}
