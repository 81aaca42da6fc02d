"""The API shapes people speak: each reads its own JSON into one chat vocabulary, and writes answers as its own."""
