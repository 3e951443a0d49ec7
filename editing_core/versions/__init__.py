"""Versions of the weights: the store on disk, its layout, manifests and z files."""
