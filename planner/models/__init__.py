"""The policies: today's rule and the learned ones. Only the learned ones import torch."""
