"""Stores: the I/O libraries behind the Protocols of their callers."""
