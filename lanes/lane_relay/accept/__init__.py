"""Submission: listeners, TLS, AUTH and the policy of who may send what."""
