"""Another gateway, reached by its REST interface: what the functions of `administration` do, done there."""
