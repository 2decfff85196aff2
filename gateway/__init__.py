"""An API gateway: one aiohttp process in front of services that routes, streams and tunnels."""

__version__ = "0.1.0"
