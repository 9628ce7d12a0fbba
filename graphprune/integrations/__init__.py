"""Libraries that build, train and save models in a way of their own: one file for each."""
