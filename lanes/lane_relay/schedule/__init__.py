"""The scheduled queue: every live message by its due time, without its body."""
