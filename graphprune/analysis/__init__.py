"""From a graph to groups of channels, their costs, and what is frozen and why."""
