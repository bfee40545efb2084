"""Hand-over: mail goes from one slot of a lane to another, and has exactly one owner at every instant."""
