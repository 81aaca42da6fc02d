"""The engine: what is computed next, over which slabs, and which tokens come of it. It knows token ids, and no text."""
