"""Schema of recipes: nested, validated settings of one training run."""

from mmer.recipe.schema import Recipe, load_recipe

__all__ = ["Recipe", "load_recipe"]
