"""What all our servers share: allowed hosts and origins, and bounds on each client."""
