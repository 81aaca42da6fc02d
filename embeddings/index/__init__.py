"""Nearest neighbours inside partitions: exact while small, inverted lists with exact scores when large."""

from embeddings.index.index import Candidate, VectorIndex

__all__ = ["Candidate", "VectorIndex"]
