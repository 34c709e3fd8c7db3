"""The HTTP API and the console's files: one table of routes, from which requests are served and OpenAPI is written."""
