"""Anthropic's Messages API: a request is written in `request`, marked in `marks`, and its answer read in `reply`."""
