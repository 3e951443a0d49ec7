"""Exports versions as Hugging Face checkpoints or as PEFT LoRA adapters."""
