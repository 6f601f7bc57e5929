"""Collect: events at the edge, the batch they travel in, and the gate. Pure."""
