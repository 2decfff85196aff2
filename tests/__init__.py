"""The suite; mirrors gateway/."""
