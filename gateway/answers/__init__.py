"""Where answers are kept: memory in front of one SQLite file."""
