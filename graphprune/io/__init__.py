"""Files and JSON, without guessing."""
