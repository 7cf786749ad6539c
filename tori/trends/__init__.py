"""When a measured series leaves its baseline. Pure: no clock, no threads, no Ray."""
