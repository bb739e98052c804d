//! What goes wrong in the middle of a pass, and that nothing is lost by it.

mod concurrent;
mod disk;
mod kill;
mod lost;
