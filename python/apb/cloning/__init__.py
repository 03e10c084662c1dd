"""Behaviour cloning: an adapter fitted to demonstrations, through a frozen backbone."""
