"""What the gateway answers itself: aiohttp handlers, listed in `gateway.api`."""
