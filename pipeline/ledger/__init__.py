"""Ledger: content bytes, issue record, seal, chain. Pure."""
