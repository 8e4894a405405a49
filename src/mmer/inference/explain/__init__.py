"""Why a model gave an answer."""
