"""Choose how many channels each group keeps, within all budgets."""
