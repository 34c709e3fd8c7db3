"""What to do: pure functions from a finding, a situation and a policy to steps with their reasons."""
