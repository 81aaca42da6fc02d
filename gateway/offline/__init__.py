"""What is worked out from files, without a server: backtest, calibration, simulation."""
