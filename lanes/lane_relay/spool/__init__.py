"""The durable store: what got 250 is in here until it is settled."""
