"""What a run found, as plain data, as text and as a page."""
