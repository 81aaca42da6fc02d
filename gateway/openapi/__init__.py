"""What the HTTP API takes and gives, told once: as OpenAPI 3.1 and as docs/api.md."""
