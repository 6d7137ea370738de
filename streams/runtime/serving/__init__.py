"""What a worker serves over HTTP: metrics, health, and look-ups of users."""
