"""How Siyu is run: the embedded stack, images and manifests."""
