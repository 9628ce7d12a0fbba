"""Run the stages in order, from a model to files. What happens in ``gp.compress``, and when?"""
