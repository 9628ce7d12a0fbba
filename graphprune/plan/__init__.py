"""Plain data that a user brings or keeps: plans, budgets and latency tables."""
