"""Decoding of recordings, compressed or not, with libsndfile and FFmpeg."""
