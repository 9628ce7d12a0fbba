"""The command line. Results go to stdout; progress, logs and errors to stderr.

Exit codes: 0 done and verified, 1 it ran but the answer is no, 2 bad input, flags or model,
3 a bug in graphprune, 130 interrupted.

Nothing here imports torch before a command has checked its flags.
"""
