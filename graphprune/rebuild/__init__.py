"""Give the smaller model back as the user's own class."""
