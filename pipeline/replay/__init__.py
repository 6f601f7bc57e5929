"""Replay: the log folded again, to prove, compare and reconcile. Pure."""
