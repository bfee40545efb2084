"""The only place that decides what became of an attempt, and the records that prove it."""
