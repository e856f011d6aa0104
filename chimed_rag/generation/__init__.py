"""Evidence becomes a draft."""
