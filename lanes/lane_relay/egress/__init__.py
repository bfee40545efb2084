"""The proof that this slot's traffic leaves from its own address, and the reflector that gives it."""
