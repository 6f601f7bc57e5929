"""Tax: which tax is due on what is billed where, at which rate, and how much that is."""
