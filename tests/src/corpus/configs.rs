//! Configurations judged by Envoy.
