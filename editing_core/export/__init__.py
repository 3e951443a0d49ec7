"""Versions leave the service: as a Hugging Face checkpoint, or as a PEFT LoRA adapter."""
