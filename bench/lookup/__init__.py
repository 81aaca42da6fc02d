"""The vector index beside plain FAISS flat: latency, recall and memory by rows and partitions."""

PARTS = ("thousands", "million")
