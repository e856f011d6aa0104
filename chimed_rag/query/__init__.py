"""A question becomes a query."""
