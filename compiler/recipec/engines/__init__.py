"""Where an image runs: docker, podman, sandbox, host."""
