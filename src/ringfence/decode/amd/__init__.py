"""AMD and Hygon: banks of K7 to family 16h, and Scalable MCA."""
