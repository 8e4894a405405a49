"""A trained model as an HTTP service and a web page."""
