"""A plan becomes files: commands, units, manifests, and the writer that puts them on disk."""
