"""Job documents are sent: each service by its own client, with the credentials that are at hand."""
