"""Pruning: how is a plan applied to the program, and what of the removed channels can be kept?

``prune`` cuts and verifies; ``merge`` adds removed channels to similar kept ones, without data, and
asks ``homogeneity`` which channels may be scaled.
"""
