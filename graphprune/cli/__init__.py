"""Parse the command line and print results. Which flag does what, and what does an exit code mean?

Results go to stdout; progress, logs and errors to stderr. Exit codes: 0 done and
verified, 1 it ran but the answer is no, 2 bad input, flags or model, 3 a bug in graphprune,
130 interrupted.

Nothing here imports torch before a command has checked its flags.
"""
