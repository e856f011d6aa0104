"""Chunks become an index on disk: store, dense and lexical search, generations, manifest."""
