"""Token ids, blocks and bytes. Knows nothing of models, chat or HTTP; a tenant is an opaque salt."""
