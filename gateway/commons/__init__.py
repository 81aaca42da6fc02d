"""Answers that tenants share: what enough of them have asked in the very same words, where the operator allows it."""
