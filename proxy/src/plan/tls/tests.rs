//! Contexts made here.
