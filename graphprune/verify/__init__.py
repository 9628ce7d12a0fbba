"""Prove that a cut program computes what it should."""
