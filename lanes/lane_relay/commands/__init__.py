"""What `lane-relay` can be asked to do, a module each, so that each costs the imports that it needs and no others."""
