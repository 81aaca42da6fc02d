"""What makes two requests the same, and who may share: scope, secret, canonical form."""
