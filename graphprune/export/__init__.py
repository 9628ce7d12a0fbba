"""Write ONNX, compare it with PyTorch, and time it in onnxruntime. Is the ONNX file right, and how fast?"""
