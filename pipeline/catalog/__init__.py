"""Catalog: what people decided, as a fold of facts: meters, plans, subscriptions. Pure."""
