"""From a recipient domain to a route: MX, addresses, site."""
