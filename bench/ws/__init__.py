"""The live updates' benchmark: ten thousand WebSockets here, in the usual servers, and bare."""
