"""Write ONNX, compare it with PyTorch, and time it in onnxruntime."""
