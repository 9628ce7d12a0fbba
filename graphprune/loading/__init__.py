"""Read models from files: programs, ONNX, state dicts, TorchScript."""
