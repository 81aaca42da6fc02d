"""How a model is computed: without torch where its body is one we know, else by sentence-transformers itself.

    read_checkpoint(folder)         (checkpoint.py)          a folder as sentence-transformers publishes one
    OnnxForward                     (onnx.py, graph.py)      its body by onnxruntime, one call for a batch
    lean_embedder                   (lean.py)                the two, tried on what the reference said (records.py),
                                                             which a process of its own asked once (witness.py)

    SentenceTransformerEmbedder.load (embeddings/local.py)   reads any model; the reference
    forward_of(model, precision)    (choice.py, bert.py)     its body laid out by torch, or why not
    disagreement(fast, readings)    (agreement.py)           a few texts by both; what strays is not used, and says so
    quickened(reference, precision) (choice.py)              the three in order: who computes, in which numbers

Vectors of two precisions have two fingerprints and never meet in one index. Those of torch and of onnxruntime, both in
float32, differ by less than 1e-6 and share one.
"""
