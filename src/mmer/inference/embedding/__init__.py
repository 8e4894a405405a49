"""Embeddings of utterances: of a trained model, or of an encoder as its authors published it."""
