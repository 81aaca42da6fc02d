"""Chat requests in, deltas out. Knows nothing of the HTTP server, tenants or the answer cache."""
