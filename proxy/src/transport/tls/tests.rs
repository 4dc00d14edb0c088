//! Handshakes over the simulated network.
