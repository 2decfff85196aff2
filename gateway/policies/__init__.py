"""What a route can ask of its requests, one policy a file; `gateway.edge` puts them on."""
