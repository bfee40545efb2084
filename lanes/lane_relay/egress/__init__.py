"""Proof of the egress address: what a reflector saw decides whether anything may leave."""
