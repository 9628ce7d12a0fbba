"""Remove channels from a graph."""
