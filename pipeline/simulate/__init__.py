"""Simulate: the real worker loops over servers in memory, one seed deciding everything.

decisions, story (facts, usage) ─> log, database in memory <─ the real workers <─ faults
└──────────> auditor, which shares no code with them
"""
