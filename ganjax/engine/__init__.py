"""The engine: the state of two players, and the pure train step that updates both."""
