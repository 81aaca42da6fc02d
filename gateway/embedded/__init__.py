"""POST /v1/embeddings: vectors of texts, kept one by one, from upstreams or the gateway's own embedder."""
