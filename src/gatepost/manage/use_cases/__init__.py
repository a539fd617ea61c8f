"""The use cases of administrators, for every interface: view, test, change. They print nothing."""
