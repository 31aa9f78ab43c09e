"""The Gymnasium face: text in, text out. `import mlb_env` registers it; the parts load when an environment is made."""
