"""How operations are run: their types, parameters, parsed inputs, handlers, and response bodies."""
