"""What happens right now: the last requests, their series over time, their percentiles. In memory, bounded."""
