"""Systems under evaluation: whatever makes a prediction of a sample."""
