"""Which decision each fitted or fixed policy takes; needs no torch."""
