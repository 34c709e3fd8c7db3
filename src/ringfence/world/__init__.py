"""Values that describe the host: identities, domains, frames, the situation, steps and their results. No logic."""
