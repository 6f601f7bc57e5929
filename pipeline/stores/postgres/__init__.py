"""Postgres: the fold, the fact log, the sealed documents. One module per thing kept."""
