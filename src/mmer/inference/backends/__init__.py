"""What computes the answers: PyTorch or onnxruntime, from a model folder."""
