"""Records that several places keep, so none is lost with one of them, and every process learns what the others did."""
