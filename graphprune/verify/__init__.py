"""Prove that a cut program computes what it should.

What must a cut program equal (``masked``), and how is that checked (``oracle``)?
"""
