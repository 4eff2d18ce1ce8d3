"""Today's rule against kernel 0.1.0: generated pairs of config and issue, and what the kernel itself made of them."""
