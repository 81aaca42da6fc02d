"""Benchmarks and the evaluation: they drive a real gateway over HTTP, and are not packaged."""
