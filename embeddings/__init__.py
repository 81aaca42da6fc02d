"""Texts, vectors and scores. Knows nothing of chat, HTTP or tenants."""
