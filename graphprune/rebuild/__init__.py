"""Give the smaller model back as the user's own class.

Why does a result have, or not have, the class of the model? ``rebuild`` slices the user's module
(``shrink_module``, ``absorb_scales``) and compares it with the cut graph; ``class_constraints`` finds which
groups the code of the class can follow at all. What a training loop keeps beside the model follows by ``carry_optimizer``
and ``carry_module``.
"""
