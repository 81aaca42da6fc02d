"""Stored answers under people's hands: seen, judged, removed, carried elsewhere."""
