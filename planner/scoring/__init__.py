"""What an outcome is worth: utility, regret, intervals, calibration."""
