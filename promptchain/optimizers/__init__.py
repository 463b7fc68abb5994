"""How better prompts are found: what is proposed, and how the best of it is chosen with few model calls."""
