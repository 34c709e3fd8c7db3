"""Intel: MCA error codes, model-specific banks, addresses."""
