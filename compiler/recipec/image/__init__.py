"""From a lock and a bundle to blobs: layers, config, manifests, layout."""
