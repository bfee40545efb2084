"""SOCKS5: connections through a proxy that holds the slot's address (RFC 1928, RFC 1929)."""
