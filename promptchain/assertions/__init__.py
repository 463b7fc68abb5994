"""What an output is checked for: one small function for each assertion, in a dict."""
