"""Workers: thin shells around the pure rooms: load, step, save, ack."""
