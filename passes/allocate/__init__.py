"""Allocation: how many channels does each group keep, so that all budgets are met?

``allocate`` is the pass, ``costs`` what a budget can bound, ``width_limits`` the widths that are allowed, ``width_problem`` the question to the
solver, ``infeasible`` the errors where it has no answer; ``rounding`` looks for widths that run fast, with the estimate in ``roofline``;
``given_plan`` takes a plan from a file instead. The optimisation is in ``graphprune.passes.solver``.
"""
