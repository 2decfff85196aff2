"""Who somebody is: signed tokens and the keys behind them, passwords, sessions."""
