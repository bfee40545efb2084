"""What keeps a lane's mail welcome and runs by itself: decisions over what was observed, and nothing that does them."""
