"""The program as a graph: torch.export's programs, their nodes, sizes and tensors."""
