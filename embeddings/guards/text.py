"""Moved to `embeddings.text`."""

from embeddings.text import CARRIES_NO_MEANING, HAN, han, has_han, is_han, latin_words, plain, stem, word_set, words

__all__ = ["CARRIES_NO_MEANING", "HAN", "han", "has_han", "is_han", "latin_words", "plain", "stem", "word_set", "words"]
