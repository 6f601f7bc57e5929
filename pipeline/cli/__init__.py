"""The command line: one file a command group, each a thin caller of the rooms and stores."""
