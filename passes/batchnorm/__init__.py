"""BatchNorm folding: which BatchNorm can be computed by a neighbouring layer, and by which weights?

``sites`` finds where it can, ``fold`` rewrites the graph, ``fold_batchnorm`` is the pass.
"""
