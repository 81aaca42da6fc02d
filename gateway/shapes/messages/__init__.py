"""POST /v1/messages: Anthropic's API. `request` reads it, `reply` writes answers, `shape` ties both to the endpoint."""
