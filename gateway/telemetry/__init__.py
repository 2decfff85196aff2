"""What the gateway says about itself: the access log, other events, and metrics."""
