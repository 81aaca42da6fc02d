"""How a model is computed: by our own forward where its body is one we know, else by sentence-transformers itself.

    SentenceTransformerEmbedder.load (embeddings/local.py)   reads any model; the reference
    forward_of(model, precision)    (fast.py, bert.py)       its body laid out for one processor, or why not
    disagreement(fast, reference)   (agreement.py)           a few texts by both; what strays is not used, and says so
    quickened(reference, precision) (choice.py)              the three in order: who computes, in which numbers

Vectors of two runtimes or precisions have two fingerprints and never meet in one index.
"""
