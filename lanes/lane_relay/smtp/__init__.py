"""SMTP as bytes in, events out; no I/O (RFC 5321 and its extensions)."""
