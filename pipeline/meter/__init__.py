"""Meter: what one message of the usage log contributes, window by window. Pure."""
