"""The axis algebra: labels on the rows of an axis, and the laws that tie, split and merge axes."""
