"""Other engines on the same weights, each where somebody has built or installed it; README.md says how."""
