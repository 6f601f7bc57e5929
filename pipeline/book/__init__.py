"""Book: slices into usage rows under cuts, in the order of the log. Pure."""
