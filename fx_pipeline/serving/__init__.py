"""What all servers share: allowed hosts and origins, and limits on each client."""
