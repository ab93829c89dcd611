"""The sandbox, over HTTP and in process."""
