"""The provider: the client for Fixer, its errors, and the sandbox that can replace it."""
