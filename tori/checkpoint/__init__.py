"""Checkpoints: snapshots of modules on disk, each verified before it is believed."""
