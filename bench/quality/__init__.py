"""The quality of the semantic tier, measured on public pairs and streams: hits, wrong hits, and what they cost."""
