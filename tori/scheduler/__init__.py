"""The scheduler: which task runs when, on what, how often again, and what becomes of it. Pure; a shell executes."""
