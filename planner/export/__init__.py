"""How a policy leaves this house: bundles that decide without torch."""
