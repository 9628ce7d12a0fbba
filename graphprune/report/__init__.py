"""Report what a run found: as plain data, as text and as an HTML page. What does a number mean?"""
