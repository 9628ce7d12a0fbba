"""Pruning while a network is trained, in the user's own loop.

``sparsify`` holds what the user calls. ``method`` is the interface of the methods, each of which has a
file of its own, and ``methods`` their table. ``channels`` works on the rows of the live parameters that belong to
each channel, ``planner`` chooses the channels to go by the weights of the moment, ``finish`` cuts.
"""
