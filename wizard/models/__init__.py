"""Which model? Every source ends in a `ModelMetadata`."""
