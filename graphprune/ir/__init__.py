"""The program as a graph: torch.export's programs, their nodes, sizes and tensors.

How does a module become a graph (``trace``), what does a node say of itself (``nodes``, ``sizes``), which values share
memory (``memory``), and how are tensors of a graph read and replaced (``program``, ``tensors``)? Nothing here knows of channels.
"""
