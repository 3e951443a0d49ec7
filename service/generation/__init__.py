"""The resident model and its versions: answers prompts while versions come and go."""
