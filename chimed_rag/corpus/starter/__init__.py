"""The starter literature that ships with the package, and its index."""
