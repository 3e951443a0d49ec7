"""A base model's safetensors files, and writing them again with other matrices in them."""
