"""Chain files in canonical layout: `layout.layout` is what others use."""
