"""A draft becomes an answer that one may show: triage, proof, abstention, notices."""
