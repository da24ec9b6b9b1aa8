//! Room `store`.

mod rows;

pub use rows::*;
