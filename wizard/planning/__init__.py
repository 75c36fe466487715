"""The pure core: no I/O, clock, environment or global state. A request in, a plan out."""
