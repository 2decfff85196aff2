"""How a request gets to an upstream: the attempt, the connection it is made on, the tunnel."""
