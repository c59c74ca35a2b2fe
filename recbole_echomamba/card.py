"""Write a model card."""
