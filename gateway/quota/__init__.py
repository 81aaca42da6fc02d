"""What each tenant may do, and how much of it: policies, limits by the minute, budgets by the day and the month."""
