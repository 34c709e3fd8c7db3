"""The service's configuration: one TOML file, a table for each part of the service, every key with a default."""
