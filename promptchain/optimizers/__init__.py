"""Ways to better prompts, each a function from a task to the best candidate it found."""
