"""A procedural still life that looks like a photograph and knows its ground truth for every edit."""
