"""Which target a request goes to, and whether it may: decisions only, no sockets."""
