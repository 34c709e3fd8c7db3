"""What is shown on real hypervisors. Not part of the default tests: each machine takes a minute to come up."""
