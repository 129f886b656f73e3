"""Measurements that anybody can repeat: `vtok benchmark ...`."""
