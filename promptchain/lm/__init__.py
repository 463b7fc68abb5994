"""Models behind one protocol: hosted (litellm), local (llama.cpp), scripted, and a cache around any of them."""
