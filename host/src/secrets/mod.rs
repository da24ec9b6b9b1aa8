//! Room `secrets`.
