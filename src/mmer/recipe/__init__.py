"""Schema of recipes: nested, validated settings of one training run."""
