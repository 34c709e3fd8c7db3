"""From a record to its meaning: what the bits say, per vendor and model, and what kind of address it is."""
