"""What a person sees of a result in a terminal."""
