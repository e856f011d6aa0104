"""A query becomes evidence: retrievers, fusion, reranking."""
