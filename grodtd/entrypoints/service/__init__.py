"""The service: health, metrics, a read API, one page that links them."""
