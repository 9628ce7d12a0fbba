"""Cut the program by a plan, and merge removed channels into kept ones."""
