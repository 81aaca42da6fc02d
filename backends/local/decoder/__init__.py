"""The model: from a checkpoint's files to rows of tokens in, logits out, keys and values left in slabs."""
