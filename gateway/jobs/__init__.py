"""Jobs that workers do: what one is, how it is taken and followed, and how a worker is written."""
