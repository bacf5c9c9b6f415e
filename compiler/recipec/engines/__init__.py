"""Running an image: docker, podman, the sandbox, or this Python."""
