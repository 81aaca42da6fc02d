"""The HTTP surface. Routes translate; they decide nothing and never touch stores, indexes or backends."""
