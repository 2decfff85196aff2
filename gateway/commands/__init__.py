"""What the commands do that manage keys and users: they need no running gateway."""
