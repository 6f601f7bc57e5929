"""Dedupe: an event counts once, by its key or by its place in a sequence. Pure."""
