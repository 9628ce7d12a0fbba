"""Fold batch normalisation into neighbouring layers."""
