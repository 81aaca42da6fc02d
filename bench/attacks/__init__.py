"""What an attacker would try, tried: by time, by meaning."""
