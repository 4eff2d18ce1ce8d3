"""What must work without torch and Ray, on every Python that the package admits."""
