"""Prove that a cut program computes what it should.

Is the program what its module computes (``traced``)? What must a cut program equal (``masked``), and
how is that checked, to 1e-9 (``oracle``)?
"""
