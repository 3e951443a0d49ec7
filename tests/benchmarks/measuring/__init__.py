"""What benchmarks measure with: seconds and memory, the machine's rates, tokens as laid out, random models."""
