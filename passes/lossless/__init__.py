"""Channels that go with no loss, as the weights prove it: zero, constant, duplicates, linear combinations.

``relations`` holds what is known of the channels of a value, ``propagate`` follows it call by call,
``combinations`` finds them in the weights of a layer, ``readers`` finds what the layers that read a group
can do without and folds it into their weights, ``lossless`` is the pass with its proof, and
``redundant`` holds what was found. ``allocate`` decides by that.
"""
