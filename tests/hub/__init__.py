"""A small Hugging Face hub on 127.0.0.1, for the real client to ask: enough of its protocol, and every way to fail."""
