"""Plain data that a user brings or keeps: plans, budgets and latency tables.

What is in a plan file or a latency table, and how is a budget written? Nothing here imports torch.
"""
