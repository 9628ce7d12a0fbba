"""The axis algebra: labels on the rows of an axis, and the operations that tie, split and merge axes.

What does it mean that two axes hold the same channels? Begin with ``labels``; ``README.md`` gives the
words and the order in which to read the folder. Nothing here knows of torch or of operators.
"""
