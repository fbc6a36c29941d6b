"""Human hands: what people stop, let go on and approve while the fleet runs."""
