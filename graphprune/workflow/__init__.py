"""A model from file to files: the stages in order."""
