"""From the provider into the database: plan calls, make them, store the responses."""
