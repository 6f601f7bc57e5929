"""Bench: how fast the full path is, and whether it was right while it was fast."""
