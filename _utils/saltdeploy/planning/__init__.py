"""What to do, from what is desired and what was observed. Pure."""
