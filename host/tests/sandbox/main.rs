//! The child processes, driven over their real channels with a real component (`tests/guests`).

mod children;
mod compiler;
mod hostile;
mod runner;
mod tape;
