"""The services' own clients: they check a job document, and send it."""
