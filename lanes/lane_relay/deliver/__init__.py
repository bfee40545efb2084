"""The ready queues, limits and sessions that carry mail to each site."""
