"""What runs at the centre: ServerApp, registry, API."""
