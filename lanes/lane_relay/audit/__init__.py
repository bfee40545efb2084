"""Evidence: records sealed into a signed chain, archived, sent on, verified and traced."""
