"""What replicas of the gateway on one Redis know of each other."""
