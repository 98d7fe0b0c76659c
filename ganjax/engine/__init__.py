"""The engine, which holds the state of two players and the pure train step that updates both."""
