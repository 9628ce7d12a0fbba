"""Remove channels from a graph.

Which tensors are sliced, and which arguments of calls change? Begin with ``cut.Cut``, which holds all that
follows from a choice of channels; the other modules compute its parts.
"""
