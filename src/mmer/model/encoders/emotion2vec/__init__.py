"""emotion2vec (Ma et al., 2024) and emotion2vec+: the encoder, and the files of a FunASR release."""
