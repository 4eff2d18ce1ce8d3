"""A small real Cyntra repo to run against and a stand-in for Cyntra's kernel, for machines without Cyntra."""
