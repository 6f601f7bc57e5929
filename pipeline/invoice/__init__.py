"""Invoice: priced lines into documents: line items, composition, totals. Pure."""
