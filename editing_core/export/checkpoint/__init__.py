"""Reads the safetensors files of a base model, and writes copies with other matrices in them."""
