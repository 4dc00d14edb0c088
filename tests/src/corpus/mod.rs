//! Judges over data that was recorded from the real Envoy.
