"""The side-by-side benchmark: what a proxied request costs here and in the usual proxies."""
