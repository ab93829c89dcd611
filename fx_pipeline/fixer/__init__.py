"""The provider: Fixer over HTTP, what it can answer, and a stand-in to run here."""
