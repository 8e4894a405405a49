"""HTTP service and web page for a trained model."""
