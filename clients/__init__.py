"""What runs at an institution: the node agent, and the courier that Flower starts."""
