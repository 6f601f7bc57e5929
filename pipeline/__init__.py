"""Talea: usage events into invoices that anybody can recompute."""

__version__ = "0.1.0"
