"""The use cases of another gateway, called over its REST interface."""
