"""The analysis of a graph: groups of channels that are cut together, their costs, what is frozen and why.

Which channels are coupled, what do they cost, and why can't these be cut? Begin with ``analyse``, which
propagates labels over the graph (``propagate``), forms groups of them (``groups``) and counts costs.
``frozen`` and ``why`` answer from the log of links; ``equal_splits`` says which groups a model's own code
needs at equal widths.
"""
