"""What must hold whatever happens: each module breaks one thing for real and looks at what is left."""
