"""What happened, told to logs, traces and metrics."""
