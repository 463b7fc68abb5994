"""Chains of LLM prompts as files: run, version, test and compile them."""
