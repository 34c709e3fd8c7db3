"""Where machine-check evidence comes from on a Linux host: each source apart, and what joins their reports."""
