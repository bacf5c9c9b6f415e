"""Job documents: what a service must be sent so that it runs the image."""
