"""Files become chunks: sources, loaders, cleaner, chunker; the starter literature."""
